// Symmetric products in vectors of CK_WIDTH / 2 doubles.

#include "../symmetric_products.h"
#include "doubles.h"

// As many sums as the registers hold beside one group of columns.
#if CK_WIDTH == 4
enum { panel_width = 4, panel_group = 1 };
#else
enum { panel_width = CK_DOUBLES, panel_group = 3 };
#endif
enum { tile_vectors = panel_width * panel_group / CK_DOUBLES };

// Returns the vector at `index` of those that hold the columns' elements of one step. Each panel
// has `depth` steps.
CK_INLINE double_vector column_vector(
  const double *columns, size_t depth, size_t step, size_t index) {
  size_t place = index * CK_DOUBLES, panel = place / panel_width;
  return load(columns + (panel * depth + step) * panel_width + place % panel_width);
}

static void add_tile(
  const double *rows, const double *columns, size_t depth, double sign, double *sum,
  size_t stride) {
#pragma clang loop unroll(full)
  for (size_t i = 0; i < panel_width; i++) {
    __builtin_prefetch(sum + i * stride, 1);
    __builtin_prefetch(sum + i * stride + panel_width * panel_group - 1, 1);
  }
  double_vector products[panel_width][tile_vectors];
#pragma clang loop unroll(full)
  for (size_t i = 0; i < panel_width; i++)
#pragma clang loop unroll(full)
    for (size_t j = 0; j < tile_vectors; j++) products[i][j] = (double_vector)0.0;
  for (size_t step = 0; step < depth; step++) {
    double_vector values[tile_vectors];
#pragma clang loop unroll(full)
    for (size_t j = 0; j < tile_vectors; j++) values[j] = column_vector(columns, depth, step, j);
#pragma clang loop unroll(full)
    for (size_t i = 0; i < panel_width; i++) {
      double_vector row = (double_vector)rows[step * panel_width + i];
#pragma clang loop unroll(full)
      for (size_t j = 0; j < tile_vectors; j++)
        products[i][j] = fused(row, values[j], products[i][j]);
#if CK_WIDTH == 8
      // Keeps the rows' products in this order. All 16 registers are taken, and in another order the
      // compiler moves sums to memory.
      __asm__ volatile("" : "+x"(products[i][0]), "+x"(products[i][1]), "+x"(products[i][2]));
#endif
    }
  }
#pragma clang loop unroll(full)
  for (size_t i = 0; i < panel_width; i++)
#pragma clang loop unroll(full)
    for (size_t j = 0; j < tile_vectors; j++) {
      double *place = sum + i * stride + j * CK_DOUBLES;
      store(place, load(place) + (double_vector)sign * products[i][j]);
    }
}

const ck_symmetric_table CK_TABLE = {
  .width = panel_width, .group = panel_group, .add_tile = add_tile};
