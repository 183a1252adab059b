#include "derivatives.h"

#include <math.h>
#include <string.h>

#include "scalar_epilogue.h"

static const ck_derivative_table *table(void) {
  switch (ck_current_vector_level()) {
#if defined(__x86_64__)
    case CK_VECTOR_512: return &ck_derivatives_512;
    case CK_VECTOR_256: return &ck_derivatives_256;
#endif
#if defined(__x86_64__) || defined(__aarch64__)
    case CK_VECTOR_128: return &ck_derivatives_128;
#endif
    default: return &ck_scalar_derivatives;
  }
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

void ck_quantize_gradient(
  const ck_quantizer *quantizer, const float *x, float factor, size_t rows, size_t columns,
  size_t stride, float *g, ck_bound_gradient *sum) {
  table()->quantize_gradient(quantizer, x, factor, rows, columns, stride, g, sum);
}

void ck_depthwise_weight_gradient(
  size_t channels, size_t height, size_t width, const float *x, const float *g, float *sum) {
  table()->depthwise_weight_gradient(channels, height, width, x, g, sum);
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
  const float *x, float factor, size_t columns, float lower, float upper, float levels, float *g) {
  ck_bound_sums sums = {0, 0, 0};
  float scale = (upper - lower) / levels;
  if (!(scale > 0)) {
    for (size_t column = 0; column < columns; column++) sums.low += (double)g[column];
    memset(g, 0, columns * sizeof *g);
    return sums;
  }
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

static void quantize_gradient(
  const ck_quantizer *quantizer, const float *x, float factor, size_t rows, size_t columns,
  size_t stride, float *g, ck_bound_gradient *sum) {
  for (size_t row = 0; row < rows; row++, x += stride, g += stride) {
    float magnitude = 1;
    if (quantizer->is_row_scaled) {
      magnitude = ck_row_magnitude(x, columns) * factor;
      if (!(magnitude >= CK_LEAST_ROW_MAGNITUDE)) {
        memset(g, 0, columns * sizeof *g);
        continue;
      }
    }
    ck_bound_sums sums = row_gradient(
      x, factor, columns, quantizer->lower * magnitude, quantizer->upper * magnitude,
      quantizer->levels, g);
    double by_magnitude = ck_add_bound_sums(quantizer, sums, magnitude, sum);
    if (!quantizer->is_row_scaled) continue;
    size_t place = 0;
    while (fabsf(x[place]) * factor != magnitude) place++;
    ck_lead_to_largest(quantizer, x, factor, columns, place, by_magnitude, g);
  }
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
