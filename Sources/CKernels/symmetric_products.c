#include "symmetric_products.h"

#include <string.h>

#include "vector_levels.h"

const ck_symmetric_table *ck_symmetric_kernels(void) { return ck_current_level()->symmetric; }

size_t ck_symmetric_panel_width(const ck_symmetric_table *kernels) { return kernels->width; }

// Whole groups, so that the last tile reads no further than the panels.
size_t ck_symmetric_panels_size(const ck_symmetric_table *kernels, size_t count, size_t depth) {
  size_t columns = kernels->width * kernels->group;
  return (count + columns - 1) / columns * columns * depth;
}

// MARK: Packing

// Inlined for each width, so that its loops are unrolled.
static inline __attribute__((always_inline)) void pack_panel(
  const double *x, size_t stride, bool is_wide, size_t some, size_t depth, size_t width,
  double *panel) {
  if (some < width) {
    memset(panel, 0, width * depth * sizeof *panel);
    for (size_t step = 0; step < depth; step++)
      for (size_t index = 0; index < some; index++)
        panel[step * width + index] = x[is_wide ? index * stride + step : step * stride + index];
  } else if (is_wide) {
    for (size_t step = 0; step < depth; step++)
      for (size_t index = 0; index < width; index++)
        panel[step * width + index] = x[index * stride + step];
  } else {
    for (size_t step = 0; step < depth; step++)
      memcpy(panel + step * width, x + step * stride, width * sizeof *panel);
  }
}

void ck_pack_symmetric_panels(
  const ck_symmetric_table *kernels, const double *x, size_t stride, bool is_wide, size_t count,
  size_t depth, size_t first_panel, size_t end_panel, double *panels) {
  size_t width = kernels->width;
  for (size_t index = first_panel; index < end_panel; index++) {
    size_t first = index * width, some = first < count ? count - first : 0;
    const double *start = some == 0 ? x : x + (is_wide ? first * stride : first);
    double *panel = panels + first * depth;
    if (width == 8)
      pack_panel(start, stride, is_wide, some, depth, 8, panel);
    else
      pack_panel(start, stride, is_wide, some, depth, 4, panel);
  }
}

// MARK: Products

void ck_add_symmetric_products(
  const ck_symmetric_table *kernels, const double *panels, size_t depth, size_t first_row,
  size_t end_row, size_t first_column, size_t end_column, double sign, double *sum, size_t stride) {
  size_t width = kernels->width, columns = width * kernels->group;
  // A group of columns stays in the first cache while the rows come from the second.
  for (size_t column = first_column; column < end_column; column += columns) {
    size_t last = column + columns < end_column ? column + columns : end_column;
    for (size_t row = first_row; row < end_row && row < last; row += width) {
      const double *left = panels + row * depth, *right = panels + column * depth;
      if (row + width <= end_row && column + columns <= end_column && row + width <= column + 1) {
        kernels->add_tile(left, right, depth, sign, sum + row * stride + column, stride);
        continue;
      }
      // At the diagonal and at the ends, only a part of the tile counts.
      double tile[ck_largest_panel * ck_largest_panel * ck_largest_group] = {0};
      kernels->add_tile(left, right, depth, sign, tile, columns);
      for (size_t i = row; i < row + width && i < end_row; i++)
        for (size_t j = column > i ? column : i; j < last; j++)
          sum[i * stride + j] += tile[(i - row) * columns + j - column];
    }
  }
}

// MARK: Scalar kernel

enum { scalar_width = 4 };

static void add_tile(
  const double *rows, const double *columns, size_t depth, double sign, double *sum,
  size_t stride) {
  double products[scalar_width][scalar_width] = {{0}};
  for (size_t step = 0; step < depth; step++)
    for (size_t i = 0; i < scalar_width; i++)
      for (size_t j = 0; j < scalar_width; j++)
        products[i][j] += rows[step * scalar_width + i] * columns[step * scalar_width + j];
  for (size_t i = 0; i < scalar_width; i++)
    for (size_t j = 0; j < scalar_width; j++) sum[i * stride + j] += sign * products[i][j];
}

const ck_symmetric_table ck_symmetric_scalar = {
  .width = scalar_width, .group = 1, .add_tile = add_tile};
