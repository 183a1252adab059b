// Winograd's convolution of one tile, one element at a time.

#ifndef CK_SCALAR_WINOGRAD_H
#define CK_SCALAR_WINOGRAD_H

#include <stdbool.h>

#include "winograd.h"

#define A CK_POINT_A
#define B CK_POINT_B

// Bᵀ.
static const float ck_pixel_transform[ck_patch_side * ck_patch_side] = {
  A * A * B * B, 0, -A * A - B * B, 0, 1, 0,
  0, -A * B * B, -B * B, A, 1, 0,
  0, A * B * B, -B * B, -A, 1, 0,
  0, -A * A * B, -A * A, B, 1, 0,
  0, A * A * B, -A * A, -B, 1, 0,
  0, A * A * B * B, 0, -A * A - B * B, 0, 1,
};

// Aᵀ.
static const float ck_sum_transform[ck_tile_side * ck_patch_side] = {
  1, 1, 1, 1, 1, 0,
  0, A, -A, B, -B, 0,
  0, A * A, A * A, B * B, B * B, 0,
  0, A * A * A, -A * A * A, B * B * B, -B * B * B, 1,
};

#undef A
#undef B

// result = matrix · x · matrixᵀ, with `rows` rows of the matrix and ck_patch_side of x.
static inline void ck_transform(size_t rows, const float *matrix, const float *x, float *result) {
  for (size_t place = 0; place < rows * rows; place++) {
    const float *left = matrix + place / rows * ck_patch_side;
    const float *right = matrix + place % rows * ck_patch_side;
    result[place] = 0;
    for (size_t row = 0; row < ck_patch_side; row++) {
      float sum = 0;
      for (size_t column = 0; column < ck_patch_side; column++)
        sum += x[row * ck_patch_side + column] * right[column];
      result[place] += left[row] * sum;
    }
  }
}

// Computes the values [input, ck_patch_area] of the patch of the tile that starts at this row and
// column.
static inline void ck_transform_pixels(
  size_t inputs, size_t height, size_t width, size_t row, size_t column, const float *x,
  size_t x_stride, float *values) {
  float pixels[ck_patch_area];
  for (size_t input = 0; input < inputs; input++, values += ck_patch_area) {
    for (size_t place = 0; place < ck_patch_area; place++) {
      // Offset by one, so that the unsigned index does not go below zero.
      size_t down = row + place / ck_patch_side, across = column + place % ck_patch_side;
      bool is_inside = down >= 1 && down <= height && across >= 1 && across <= width;
      pixels[place] = is_inside ? x[((down - 1) * width + across - 1) * x_stride + input] : 0;
    }
    ck_transform(ck_patch_side, ck_pixel_transform, pixels, values);
  }
}

// Computes one output of a tile from the values of its patch.
static inline void ck_multiply_tile(
  const ck_weights *weights, size_t output, const float *values, float *results) {
  const float *panel = weights->panels +
    output / ck_panel_width * ck_panel_stride(weights) + output % ck_panel_width;
  float sums[ck_patch_area];
  for (size_t place = 0; place < ck_patch_area; place++) {
    sums[place] = 0;
    for (size_t input = 0; input < weights->inputs; input++, panel += ck_panel_width)
      sums[place] += values[input * ck_patch_area + place] * *panel;
  }
  ck_transform(ck_tile_side, ck_sum_transform, sums, results);
  for (size_t place = 0; place < ck_tile_area; place++) results[place] += weights->bias[output];
}

#endif
