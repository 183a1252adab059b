// Integer linear layers for AVX2, which sums two products of bytes in 16 bits.

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)

#define CK_WIDTH 8
#define CK_INTEGER_TABLE ck_integer_256

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

// The bits of the input codes that a pass uses.
typedef enum code_part { code_whole, code_low_half, code_high_half } code_part;

// Adds to `products`. Sums stay in 16 bits for as many steps as cannot overflow, then are added in
// 32 bits.
CK_INLINE void add_products(
  int rows, code_part part, size_t steps, size_t safe_steps, const int8_t *panel,
  const uint8_t *codes, size_t stride, int32_t *products) {
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
        if (part == code_high_half) elements = _mm256_srli_epi16(elements, 4);
        if (part != code_whole) elements = _mm256_and_si256(elements, _mm256_set1_epi8(15));
        sum[row][0] = _mm256_add_epi16(sum[row][0], _mm256_maddubs_epi16(elements, left));
        sum[row][1] = _mm256_add_epi16(sum[row][1], _mm256_maddubs_epi16(elements, right));
      }
    }
#pragma clang loop unroll(full)
    for (int row = 0; row < rows; row++)
#pragma clang loop unroll(full)
      for (int half = 0; half < 2; half++) {
        __m256i *place = (__m256i *)(products + row * integer_group_width + half * 8);
        short weight = part == code_high_half ? 16 : 1;
        __m256i wide = _mm256_madd_epi16(sum[row][half], _mm256_set1_epi16(weight));
        _mm256_storeu_si256(place, _mm256_add_epi32(_mm256_loadu_si256(place), wide));
      }
  }
}

// Adds to `products`.
CK_INLINE void add_all_products(
  int rows, size_t steps, size_t safe_steps, const int8_t *panel, const uint8_t *codes,
  size_t stride, int32_t *products) {
  // Two products of half codes and whole weights per step, at most 2 · 15 · 128.
  enum { safe_half_steps = INT16_MAX / (2 * 15 * 128) };
  if (safe_steps > 0) {
    add_products(rows, code_whole, steps, safe_steps, panel, codes, stride, products);
  } else {
    add_products(rows, code_low_half, steps, safe_half_steps, panel, codes, stride, products);
    add_products(rows, code_high_half, steps, safe_half_steps, panel, codes, stride, products);
  }
}

CK_INLINE void multiply(
  int rows, size_t runs, size_t run_steps, size_t safe_steps, const int8_t *panel,
  const uint8_t *codes, size_t stride, size_t distance, int32_t *products) {
  memset(products, 0, (size_t)rows * integer_group_width * sizeof *products);
  for (size_t run = 0; run < runs; run++)
    add_all_products(
      rows, run_steps, safe_steps, panel + run * run_steps * 64, codes + run * distance, stride,
      products);
}

// Computes the products of steps `first` to `end`.
static void multiply_block(
  const ck_integer_weights *weights, int rows, size_t panels, size_t first_panel, size_t first,
  size_t end, const uint8_t *codes, size_t stride, int32_t *products) {
  (void)panels;
  const int8_t *panel = weights->panels + (first_panel * weights->steps + first) * 64;
  codes += first * ck_integer_step;
  size_t steps = end - first, safe_steps = weights->safe_steps;
  if (rows == integer_block_rows)
    multiply(integer_block_rows, 1, steps, safe_steps, panel, codes, stride, 0, products);
  else
    multiply(1, 1, steps, safe_steps, panel, codes, stride, 0, products);
}

// Computes the products of patches from row `row` on.
static void multiply_runs(
  const ck_integer_weights *weights, int rows, size_t panels, size_t first_panel,
  const ck_integer_patches *patches, size_t row, int32_t *products) {
  (void)panels;
  const int8_t *panel = weights->panels + first_panel * weights->steps * 64;
  const uint8_t *codes = patches->codes + row * patches->stride;
  size_t runs = patches->runs, steps = patches->run_steps, safe_steps = weights->safe_steps;
  if (rows == integer_block_rows)
    multiply(
      integer_block_rows, runs, steps, safe_steps, panel, codes, patches->stride,
      patches->distance, products);
  else
    multiply(
      1, runs, steps, safe_steps, panel, codes, patches->stride, patches->distance, products);
}

#include "integer.h"

#pragma clang attribute pop

#endif
