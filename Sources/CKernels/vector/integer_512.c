// Integer linear layers for AVX-512 with VNNI, which sums four products of bytes in 32 bits without
// saturation.

#if defined(__x86_64__)

#include "avx512.h"

#pragma clang attribute push(__attribute__((target(CK_AVX512_VNNI))), apply_to = function)

#define CK_WIDTH 16
#define CK_INTEGER_TABLE CK_AVX512_NAME(ck_integer_512)

#include "arithmetic.h"
#include "epilogue.h"
#include "../integer_weights.h"

enum { integer_block_rows = 6, integer_group_panels = 4, integer_group_width = 64 };

CK_INLINE void store_codes(uint8_t *codes, int_vector values) {
  typedef uint8_t bytes __attribute__((ext_vector_type(CK_WIDTH)));
  bytes narrow = __builtin_convertvector(values, bytes);
  memcpy(codes, &narrow, sizeof narrow);
}

CK_INLINE void multiply(
  int rows, int panels, size_t steps, size_t runs, size_t run_steps, const int8_t *panel,
  const uint8_t *codes, size_t stride, size_t distance, int32_t *products) {
  __m512i sum[integer_block_rows][integer_group_panels];
#pragma clang loop unroll(full)
  for (int row = 0; row < rows; row++)
#pragma clang loop unroll(full)
    for (int index = 0; index < panels; index++) sum[row][index] = _mm512_setzero_si512();
  for (size_t run = 0; run < runs; run++, codes += distance, panel += run_steps * 64)
    for (size_t step = 0; step < run_steps; step++) {
      __m512i weights[integer_group_panels];
#pragma clang loop unroll(full)
      for (int index = 0; index < panels; index++)
        weights[index] = _mm512_loadu_si512(panel + ((size_t)index * steps + step) * 64);
#pragma clang loop unroll(full)
      for (int row = 0; row < rows; row++) {
        int32_t four;
        memcpy(&four, codes + (size_t)row * stride + step * 4, sizeof four);
        __m512i elements = _mm512_set1_epi32(four);
#pragma clang loop unroll(full)
        for (int index = 0; index < panels; index++)
          sum[row][index] = _mm512_dpbusd_epi32(sum[row][index], elements, weights[index]);
      }
    }
#pragma clang loop unroll(full)
  for (int row = 0; row < rows; row++)
#pragma clang loop unroll(full)
    for (int index = 0; index < panels; index++)
      _mm512_storeu_si512(products + row * integer_group_width + index * 16, sum[row][index]);
}

// Computes the products of some runs of codes, with the weights of steps from `first` on.
static void multiply_some(
  const ck_integer_weights *weights, int rows, size_t panels, size_t first_panel, size_t first,
  size_t runs, size_t run_steps, const uint8_t *codes, size_t stride, size_t distance,
  int32_t *products) {
  size_t steps = weights->steps;
  const int8_t *panel = weights->panels + (first_panel * steps + first) * 64;
#define MULTIPLY(row_count, panel_count, place, target) \
  multiply( \
    row_count, panel_count, steps, runs, run_steps, place, codes, stride, distance, target)
  if (rows == integer_block_rows) {
    switch (panels) {
      case 1: MULTIPLY(6, 1, panel, products); break;
      case 2: MULTIPLY(6, 2, panel, products); break;
      case 3: MULTIPLY(6, 3, panel, products); break;
      default: MULTIPLY(6, 4, panel, products);
    }
  } else {
    for (size_t index = 0; index < panels; index++)
      MULTIPLY(1, 1, panel + index * steps * 64, products + index * 16);
  }
#undef MULTIPLY
}

// Computes the products of steps `first` to `end`.
static void multiply_block(
  const ck_integer_weights *weights, int rows, size_t panels, size_t first_panel, size_t first,
  size_t end, const uint8_t *codes, size_t stride, int32_t *products) {
  multiply_some(
    weights, rows, panels, first_panel, first, 1, end - first, codes + first * ck_integer_step,
    stride, 0, products);
}

// Computes the products of patches from row `row` on.
static void multiply_runs(
  const ck_integer_weights *weights, int rows, size_t panels, size_t first_panel,
  const ck_integer_patches *patches, size_t row, int32_t *products) {
  multiply_some(
    weights, rows, panels, first_panel, 0, patches->runs, patches->run_steps,
    patches->codes + row * patches->stride, patches->stride, patches->distance, products);
}

#include "integer.h"

#pragma clang attribute pop

#endif
