#include "derivatives.h"

#include <math.h>
#include <string.h>

#include "row_coding.h"
#include "row_sums.h"
#include "scalar_epilogue.h"
#include "vector_levels.h"

static const ck_derivative_table *table(void) { return ck_current_level()->derivatives; }

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

// Elements that share their bounds, all multiplied by a positive factor.
typedef struct quantized_run {
  const float *x;
  float factor;
  size_t count;
  float lower;
  float upper;
} quantized_run;

// The gradients with respect to both bounds; g becomes the gradient with respect to x.
typedef struct bound_gradients {
  double by_lower;
  double by_upper;
} bound_gradients;

static bound_gradients run_gradient(quantized_run run, float levels, float *g) {
  float scale = (run.upper - run.lower) / levels;
  ck_bound_sums sums = {0, 0, 0};
  if (scale > 0) {
    sums = table()->row_gradient(run.x, run.factor, run.count, run.lower, run.upper, scale, g);
  } else {
    for (size_t index = 0; index < run.count; index++) sums.low += (double)g[index];
    memset(g, 0, run.count * sizeof *g);
  }
  double inner = sums.inner / (double)levels;
  return (bound_gradients){sums.low - inner, sums.high + inner};
}

// Clears the gradient of elements that are a bound themselves, because all of it belongs to the
// bound.
static void clear_at(float bound, quantized_run run, float *g) {
  for (size_t index = 0; index < run.count; index++)
    if (run.x[index] * run.factor == bound) g[index] = 0;
}

// Adds the gradient with respect to the row's largest magnitude to the first element that has it.
static void lead_to_largest(
  quantized_run run, float magnitude, double by_magnitude, float *g) {
  size_t place = 0;
  while (fabsf(run.x[place]) * run.factor != magnitude) place++;
  if (fabsf(run.lower) == magnitude) clear_at(run.lower, run, g);
  if (fabsf(run.upper) == magnitude) clear_at(run.upper, run, g);
  g[place] += copysignf(run.factor, run.x[place]) * (float)by_magnitude;
}

// Does the same for the first smallest and first largest element of a group.
static void lead_to_range(
  quantized_run run, ck_range range, double by_least, double by_greatest, float *g) {
  size_t least = 0, greatest = 0;
  while (run.x[least] * run.factor != range.least) least++;
  while (run.x[greatest] * run.factor != range.greatest) greatest++;
  if (run.lower == range.least) clear_at(run.lower, run, g);
  if (run.upper == range.greatest) clear_at(run.upper, run, g);
  g[least] += run.factor * (float)by_least;
  g[greatest] += run.factor * (float)by_greatest;
}

static void group_gradient(
  const ck_quantizer *quantizer, quantized_run run, float *g, ck_bound_gradient *sum) {
  ck_range range = ck_range_of(run.x, run.count);
  range.least *= run.factor;
  range.greatest *= run.factor;
  if (!ck_is_range(range)) {
    // All elements become the smallest one, which is approximately the identity.
    for (size_t index = 0; index < run.count; index++) g[index] *= run.factor;
    return;
  }
  run.lower = ck_group_bound(quantizer->lower, range);
  run.upper = ck_group_bound(quantizer->upper, range);
  bound_gradients bounds = run_gradient(run, quantizer->levels, g);
  double half = ((double)range.greatest - (double)range.least) / 2;
  sum->lower += half * bounds.by_lower;
  sum->upper += half * bounds.by_upper;
  double of_least_in_lower = (1 - (double)quantizer->lower) / 2;
  double of_least_in_upper = (1 - (double)quantizer->upper) / 2;
  lead_to_range(
    run, range, of_least_in_lower * bounds.by_lower + of_least_in_upper * bounds.by_upper,
    (1 - of_least_in_lower) * bounds.by_lower + (1 - of_least_in_upper) * bounds.by_upper, g);
}

static void row_gradient_of(
  const ck_quantizer *quantizer, quantized_run run, float *g, ck_bound_gradient *sum) {
  float magnitude =
    quantizer->is_row_scaled ? ck_row_magnitude(run.x, run.count) * run.factor : 1;
  if (!(magnitude >= CK_LEAST_ROW_MAGNITUDE)) {
    memset(g, 0, run.count * sizeof *g);
    return;
  }
  run.lower = quantizer->lower * magnitude;
  run.upper = quantizer->upper * magnitude;
  bound_gradients bounds = run_gradient(run, quantizer->levels, g);
  sum->lower += (double)magnitude * bounds.by_lower;
  sum->upper += (double)magnitude * bounds.by_upper;
  if (quantizer->is_row_scaled)
    lead_to_largest(
      run, magnitude,
      (double)quantizer->lower * bounds.by_lower + (double)quantizer->upper * bounds.by_upper, g);
}

// Turns the gradient with respect to a row divided by its sum into that with respect to the row:
// for y = p / Σ p, (g − Σ g y) / Σ p. A row whose sum is less than the step between two codes has
// none but the lowest, which the division hardly depends on: its gradient is that without a division,
// not one divided by next to nothing.
static void normalization_gradient(
  const ck_quantizer *quantizer, const float *x, float factor, size_t columns, float *g) {
  ck_quantizer own = *quantizer;
  own.is_normalized = false;
  if (own.is_row_scaled) {
    float magnitude = ck_row_magnitude(x, columns) * factor;
    own.is_row_scaled = false;
    own.lower *= magnitude;
    own.upper *= magnitude;
  }
  enum { chunk = 16 * ck_sum_lanes };
  float sums[ck_sum_lanes] = {0}, products[ck_sum_lanes] = {0};
  for (size_t first = 0; first < columns; first += chunk) {
    size_t count = columns - first < chunk ? columns - first : chunk;
    float p[chunk], gradient[chunk];
    memset(p, 0, sizeof p);
    memset(gradient, 0, sizeof gradient);
    memcpy(gradient, g + first, count * sizeof *g);
    for (size_t column = 0; column < count; column++) p[column] = factor * x[first + column];
    ck_quantize(&own, p, 1, count, count);
    for (size_t column = 0; column < count; column += ck_sum_lanes)
      for (size_t lane = 0; lane < ck_sum_lanes; lane++) {
        sums[lane] += p[column + lane];
        products[lane] += gradient[column + lane] * p[column + lane];
      }
  }
  float sum = ck_sum_of_lanes(sums), inverse = ck_normalizing_factor(sum, 0);
  if (inverse == 0 || !(sum >= (own.upper - own.lower) / own.levels)) return;
  float mean = ck_sum_of_lanes(products) * inverse;
  for (size_t column = 0; column < columns; column++) g[column] = (g[column] - mean) * inverse;
}

void ck_quantize_gradient(
  const ck_quantizer *quantizer, const float *x, float factor, size_t rows, size_t columns,
  size_t stride, float *g, ck_bound_gradient *sum) {
  for (size_t row = 0; row < rows; row++, x += stride, g += stride) {
    if (quantizer->is_normalized) normalization_gradient(quantizer, x, factor, columns, g);
    if (quantizer->group_size == 0) {
      row_gradient_of(quantizer, (quantized_run){x, factor, columns, 0, 0}, g, sum);
      continue;
    }
    for (size_t first = 0; first < columns; first += quantizer->group_size) {
      size_t count = ck_group_length(columns - first, quantizer->group_size);
      group_gradient(quantizer, (quantized_run){x + first, factor, count, 0, 0}, g + first, sum);
    }
  }
}

// MARK: The reference: plain C, one element at a time

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
        // Offset by one, so that the unsigned index does not go below zero.
        size_t tap_row = row + tap / 3, tap_column = column + tap % 3;
        if (tap_row < 1 || tap_row > height || tap_column < 1 || tap_column > width) continue;
        const float *pixel = x + ((tap_row - 1) * width + tap_column - 1) * channels;
        const float *gradient = g + (row * width + column) * channels;
        for (size_t channel = 0; channel < channels; channel++)
          sum[channel * 9 + tap] += pixel[channel] * gradient[channel];
      }
}

const ck_derivative_table ck_scalar_derivatives = CK_DERIVATIVE_TABLE;
