#include "derivatives.h"

#include <math.h>
#include <string.h>

#include "kernel_table.h"
#include "scalar_epilogue.h"

static const ck_derivative_table *table(void) {
  static const ck_derivative_table *const tables[] = CK_TABLES(ck_scalar_derivatives, ck_derivatives_);
  return tables[ck_current_vector_level()];
}

void ck_gelu_and_slope(float *x, float *y, size_t count) { table()->gelu_and_slope(x, y, count); }

void ck_biased_softmax(
  float *x, const float *bias, const float *mask, size_t rows, size_t columns) {
  table()->biased_softmax(x, bias, mask, rows, columns);
}

void ck_softmax_gradient(
  const float *p, float *g, size_t rows, size_t columns, float *sum) {
  table()->softmax_gradient(p, g, rows, columns, sum);
}

void ck_depthwise_weight_gradient(
  size_t channels, size_t height, size_t width, const float *x, const float *g, float *sum) {
  table()->depthwise_weight_gradient(channels, height, width, x, g, sum);
}

// MARK: Quantizers

// Gives the first element of the row's largest magnitude the gradient by that.
static void lead_to_largest(
  const float *x, float factor, size_t columns, float lower, float upper, float magnitude,
  double by_magnitude, float *g) {
  size_t place = 0;
  while (fabsf(x[place]) * factor != magnitude) place++;
  // Where the largest are a bound themselves, their gradient is all in that of the bound.
  const float bounds[] = {lower, upper};
  for (size_t bound = 0; bound < 2; bound++)
    if (fabsf(bounds[bound]) == magnitude)
      for (size_t column = 0; column < columns; column++)
        if (x[column] * factor == bounds[bound]) g[column] = 0;
  g[place] += copysignf(factor, x[place]) * (float)by_magnitude;
}

void ck_quantize_gradient(
  const ck_quantizer *quantizer, const float *x, float factor, size_t rows, size_t columns,
  size_t stride, float *g, ck_bound_gradient *sum) {
  const ck_derivative_table *kernels = table();
  for (size_t row = 0; row < rows; row++, x += stride, g += stride) {
    float magnitude = quantizer->is_row_scaled ? ck_row_magnitude(x, columns) * factor : 1;
    if (!(magnitude >= CK_LEAST_ROW_MAGNITUDE)) {
      memset(g, 0, columns * sizeof *g);
      continue;
    }
    float lower = quantizer->lower * magnitude, upper = quantizer->upper * magnitude;
    float scale = (upper - lower) / quantizer->levels;
    ck_bound_sums sums = {0, 0, 0};
    if (scale > 0) {
      sums = kernels->row_gradient(x, factor, columns, lower, upper, scale, g);
    } else {
      for (size_t column = 0; column < columns; column++) sums.low += (double)g[column];
      memset(g, 0, columns * sizeof *g);
    }
    double by_lower = sums.low - sums.inner / (double)quantizer->levels;
    double by_upper = sums.high + sums.inner / (double)quantizer->levels;
    sum->lower += (double)magnitude * by_lower;
    sum->upper += (double)magnitude * by_upper;
    if (quantizer->is_row_scaled)
      lead_to_largest(
        x, factor, columns, lower, upper, magnitude,
        (double)quantizer->lower * by_lower + (double)quantizer->upper * by_upper, g);
  }
}

// MARK: The reference: plain C, one element after the other

static void gelu_and_slope(float *x, float *y, size_t count) {
  for (size_t index = 0; index < count; index++) {
    float value = x[index];
    float distribution = 0.5f * erfcf(-0.707106781f * value);
    float density = 0.398942280f * expf(-0.5f * value * value);
    y[index] = ck_gelu_of(value);
    x[index] = distribution + value * density;
  }
}

static void biased_softmax(
  float *x, const float *bias, const float *mask, size_t rows, size_t columns) {
  for (size_t index = 0; index < rows * columns; index++) {
    x[index] += bias[index];
    if (mask != NULL) x[index] += mask[index];
  }
  ck_softmax(x, rows, columns);
}

static void softmax_gradient(
  const float *p, float *g, size_t rows, size_t columns, float *sum) {
  for (size_t row = 0; row < rows; row++, p += columns, g += columns) {
    float mean = 0;
    for (size_t column = 0; column < columns; column++) mean += p[column] * g[column];
    for (size_t column = 0; column < columns; column++) {
      g[column] = p[column] * (g[column] - mean);
      if (sum != NULL) sum[row * columns + column] += g[column];
    }
  }
}

static ck_bound_sums row_gradient(
  const float *x, float factor, size_t columns, float lower, float upper, float scale, float *g) {
  ck_bound_sums sums = {0, 0, 0};
  float inverse = 1 / scale;
  for (size_t column = 0; column < columns; column++) {
    float value = x[column] * factor, t = (value - lower) * inverse;
    if (value <= lower)
      sums.low += (double)g[column];
    else if (value >= upper)
      sums.high += (double)g[column];
    else
      sums.inner += (double)(g[column] * (rintf(t) - t));
    g[column] = value < lower || value > upper ? 0 : g[column] * factor;
  }
  return sums;
}

static void depthwise_weight_gradient(
  size_t channels, size_t height, size_t width, const float *x, const float *g, float *sum) {
  for (size_t row = 0; row < height; row++)
    for (size_t column = 0; column < width; column++)
      for (size_t tap = 0; tap < 9; tap++) {
        // One more than the place, so that nothing goes below zero.
        size_t tap_row = row + tap / 3, tap_column = column + tap % 3;
        if (tap_row < 1 || tap_row > height || tap_column < 1 || tap_column > width) continue;
        const float *pixel = x + ((tap_row - 1) * width + tap_column - 1) * channels;
        const float *gradient = g + (row * width + column) * channels;
        for (size_t channel = 0; channel < channels; channel++)
          sum[channel * 9 + tap] += pixel[channel] * gradient[channel];
      }
}

const ck_derivative_table ck_scalar_derivatives = CK_DERIVATIVE_TABLE;
