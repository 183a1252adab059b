// Integer linear layers for AVX-512 with VNNI, which sums four products of bytes in 32 bits without
// saturation.

#if defined(__x86_64__)

#include <stdbool.h>

#include "avx512.h"

#pragma clang attribute push(__attribute__((target(CK_AVX512_VNNI))), apply_to = function)

#define CK_WIDTH 16
#define CK_INTEGER_TABLE CK_AVX512_NAME(ck_integer_512)

#include "arithmetic.h"
#include "epilogue.h"
#include "../integer_weights.h"

enum { integer_block_rows = 6, integer_group_vectors = 4 };

CK_INLINE void store_codes(uint8_t *codes, int_vector values) {
  typedef uint8_t bytes __attribute__((ext_vector_type(CK_WIDTH)));
  bytes narrow = __builtin_convertvector(values, bytes);
  memcpy(codes, &narrow, sizeof narrow);
}

// Stores vectors of codes of rows, `stride` bytes apart.
CK_INLINE void store_code_rows(
  int rows, int vectors, int_vector values[][integer_group_vectors], uint8_t *codes,
  size_t stride) {
#pragma clang loop unroll(full)
  for (int row = 0; row < rows; row++)
#pragma clang loop unroll(full)
    for (int index = 0; index < vectors; index++)
      store_codes(codes + (size_t)row * stride + (size_t)index * CK_WIDTH, values[row][index]);
}

// Rounds to the nearest integer, and to the even one of two.
CK_INLINE int_vector rounded(vector x) {
#ifdef CK_EMULATE_AVX512
  return __builtin_convertvector(__builtin_elementwise_roundeven(x), int_vector);
#else
  return (int_vector)_mm512_cvtps_epi32((__m512)x);
#endif
}

// Subtracts a number from each byte.
CK_INLINE int_vector less_center(int_vector codes, int center) {
  return (int_vector)_mm512_sub_epi8((__m512i)codes, _mm512_set1_epi8((char)center));
}

// Input codes are never divided.
typedef enum code_part { code_whole, code_low_half, code_high_half } code_part;

// Sums of products, in 32 bits at once.
typedef __m512i code_products;

enum { has_any_sums = true, safe_half_steps = 1 };

CK_INLINE code_products no_products(void) { return _mm512_setzero_si512(); }

CK_INLINE code_products load_codes(const int8_t *codes) { return _mm512_loadu_si512(codes); }

CK_INLINE code_products four_codes(const uint8_t *codes, code_part part) {
  (void)part;
  int32_t four;
  memcpy(&four, codes, sizeof four);
  return _mm512_set1_epi32(four);
}

CK_INLINE code_products add_quads(
  code_products sum, code_products elements, code_products columns) {
  return _mm512_dpbusd_epi32(sum, elements, columns);
}

CK_INLINE int_vector sums_of_quads(code_products sum, code_part part) {
  (void)part;
  return (int_vector)sum;
}

#include "integer.h"

#pragma clang attribute pop

#endif
