// Integer linear layers for AVX2, which sums two products of bytes in 16 bits.

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)

#define CK_WIDTH 8
#define CK_INTEGER_TABLE ck_integer_256

#include "arithmetic.h"
#include "epilogue.h"
#include "../integer_weights.h"

enum { integer_block_rows = 4, integer_group_vectors = 2 };

CK_INLINE void store_codes(uint8_t *codes, int_vector values) {
  __m256i ints = (__m256i)values;
  __m128i words =
    _mm_packus_epi32(_mm256_castsi256_si128(ints), _mm256_extracti128_si256(ints, 1));
  _mm_storel_epi64((__m128i *)codes, _mm_packus_epi16(words, words));
}

// Stores vectors of codes of rows, `stride` bytes apart.
CK_INLINE void store_code_rows(
  int rows, int vectors, int_vector values[][integer_group_vectors], uint8_t *codes,
  size_t stride) {
  if (rows == 4 && vectors == 2) {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
#pragma clang loop unroll(full)
    for (int row = 0; row < 4; row += 2, codes += 2 * stride) {
      __m256i first = _mm256_packus_epi32((__m256i)values[row][0], (__m256i)values[row][1]);
      __m256i next = _mm256_packus_epi32((__m256i)values[row + 1][0], (__m256i)values[row + 1][1]);
      // In each half, four codes of each vector.
      __m256i mixed = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(first, next), order);
      _mm_storeu_si128((__m128i *)codes, _mm256_castsi256_si128(mixed));
      _mm_storeu_si128((__m128i *)(codes + stride), _mm256_extracti128_si256(mixed, 1));
    }
    return;
  }
  for (int row = 0; row < rows; row++)
    for (int index = 0; index < vectors; index++)
      store_codes(codes + (size_t)row * stride + (size_t)index * CK_WIDTH, values[row][index]);
}

// Rounds to the nearest integer, and to the even one of two.
CK_INLINE int_vector rounded(vector x) { return (int_vector)_mm256_cvtps_epi32((__m256)x); }

// Subtracts a number from each byte.
CK_INLINE int_vector less_center(int_vector codes, int center) {
  return (int_vector)_mm256_sub_epi8((__m256i)codes, _mm256_set1_epi8((char)center));
}

// The bits of the input codes that a pass uses.
typedef enum code_part { code_whole, code_low_half, code_high_half } code_part;

// Sums of products stay in 16 bits for as many steps as cannot overflow, then are added in 32 bits.
typedef __m256i code_products;

enum {
  has_any_sums = false,
  // Two products of half codes and whole weights per step, at most 2 · 15 · 128.
  safe_half_steps = INT16_MAX / (2 * 15 * 128),
};

CK_INLINE code_products no_products(void) { return _mm256_setzero_si256(); }

CK_INLINE code_products load_codes(const int8_t *codes) {
  return _mm256_loadu_si256((const __m256i *)codes);
}

CK_INLINE code_products four_codes(const uint8_t *codes, code_part part) {
  int32_t four;
  memcpy(&four, codes, sizeof four);
  __m256i elements = _mm256_set1_epi32(four);
  if (part == code_high_half) elements = _mm256_srli_epi16(elements, 4);
  if (part != code_whole) elements = _mm256_and_si256(elements, _mm256_set1_epi8(15));
  return elements;
}

CK_INLINE code_products add_quads(
  code_products sum, code_products elements, code_products columns) {
  return _mm256_add_epi16(sum, _mm256_maddubs_epi16(elements, columns));
}

CK_INLINE int_vector sums_of_quads(code_products sum, code_part part) {
  short weight = part == code_high_half ? 16 : 1;
  return (int_vector)_mm256_madd_epi16(sum, _mm256_set1_epi16(weight));
}

#include "integer.h"

#pragma clang attribute pop

#endif
