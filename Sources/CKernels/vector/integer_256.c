// Linear layers over whole numbers for AVX2, which sums up two products of bytes in 16 bits.

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)

#define CK_WIDTH 8
#define CK_INTEGER_KERNEL ck_integer_linear_256

#include "arithmetic.h"
#include "epilogue.h"
#include "../integer_weights.h"

enum { integer_block_rows = 4, integer_group_width = 16 };

CK_INLINE void store_codes(uint8_t *codes, int_vector values) {
  __m256i ints = (__m256i)values;
  __m128i words =
    _mm_packus_epi32(_mm256_castsi256_si128(ints), _mm256_extracti128_si256(ints, 1));
  _mm_storel_epi64((__m128i *)codes, _mm_packus_epi16(words, words));
}

// Sums stay in 16 bits for as many steps as cannot overflow, then move to 32 bits.
CK_INLINE void multiply(
  int rows, size_t steps, size_t safe_steps, const int8_t *panel, const uint8_t *codes,
  size_t stride, int32_t *products) {
  memset(products, 0, (size_t)rows * integer_group_width * sizeof *products);
  for (size_t first = 0; first < steps; first += safe_steps) {
    size_t end = steps - first < safe_steps ? steps : first + safe_steps;
    __m256i sum[integer_block_rows][2];
#pragma clang loop unroll(full)
    for (int row = 0; row < rows; row++)
      sum[row][0] = sum[row][1] = _mm256_setzero_si256();
    for (size_t step = first; step < end; step++) {
      __m256i left = _mm256_loadu_si256((const __m256i *)(panel + step * 64));
      __m256i right = _mm256_loadu_si256((const __m256i *)(panel + step * 64 + 32));
#pragma clang loop unroll(full)
      for (int row = 0; row < rows; row++) {
        int32_t four;
        memcpy(&four, codes + (size_t)row * stride + step * 4, sizeof four);
        __m256i elements = _mm256_set1_epi32(four);
        sum[row][0] = _mm256_add_epi16(sum[row][0], _mm256_maddubs_epi16(elements, left));
        sum[row][1] = _mm256_add_epi16(sum[row][1], _mm256_maddubs_epi16(elements, right));
      }
    }
#pragma clang loop unroll(full)
    for (int row = 0; row < rows; row++)
#pragma clang loop unroll(full)
      for (int half = 0; half < 2; half++) {
        __m256i *place = (__m256i *)(products + row * integer_group_width + half * 8);
        __m256i wide = _mm256_madd_epi16(sum[row][half], _mm256_set1_epi16(1));
        _mm256_storeu_si256(place, _mm256_add_epi32(_mm256_loadu_si256(place), wide));
      }
  }
}

static void multiply_block(
  const ck_integer_weights *weights, int rows, size_t panels, size_t first_panel,
  const uint8_t *codes, size_t stride, int32_t *products) {
  (void)panels;
  const int8_t *panel = weights->panels + first_panel * weights->steps * 64;
  size_t steps = weights->steps, safe_steps = weights->safe_steps;
  if (rows == integer_block_rows)
    multiply(4, steps, safe_steps, panel, codes, stride, products);
  else
    multiply(1, steps, safe_steps, panel, codes, stride, products);
}

#include "integer.h"

#pragma clang attribute pop

#endif
