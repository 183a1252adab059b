#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "integer_weights.h"
#include "vector_levels.h"

// Stores `codes` in panels; returns whether each is less than `limit`.
static bool pack_codes(ck_integer_weights *weights, const uint8_t *codes, int limit) {
  for (size_t output = 0; output < weights->outputs; output++)
    for (size_t input = 0; input < weights->inputs; input++) {
      int code = codes[output * weights->inputs + input];
      if (code >= limit) return false;
      size_t panel = output / ck_integer_panel_width, column = output % ck_integer_panel_width;
      size_t step = panel * weights->steps + input / ck_integer_step;
      weights->panels[(step * ck_integer_panel_width + column) * ck_integer_step +
        input % ck_integer_step] = (int8_t)(code - limit / 2);
    }
  return true;
}

// Computes the terms that do not depend on the inputs.
static void fold(
  ck_integer_weights *weights, size_t columns, const uint8_t *codes, int limit,
  const float *lower, const float *scale, const float *bias) {
  for (size_t output = 0; output < weights->outputs; output++) {
    weights->biases[output] = bias == NULL ? 0 : bias[output];
    weights->centers[output] =
      (float)((double)lower[output] + (double)scale[output] * (limit / 2));
    weights->scales[output] = scale[output];
    for (size_t group = 0; group < weights->groups; group++) {
      size_t first = group * weights->group_inputs;
      size_t count = ck_group_length(weights->inputs - first, weights->group_inputs);
      int64_t sum = 0;
      for (size_t input = first; input < first + count; input++)
        sum += codes[output * weights->inputs + input] - limit / 2;
      weights->totals[group * columns + output] = (float)sum;
    }
  }
}

bool ck_integer_scaling_create(
  const ck_integer_weights *weights, const ck_quantizer *activations, size_t count,
  ck_integer_scaling *scaling) {
  *scaling = (ck_integer_scaling){NULL, NULL, NULL};
  if (!ck_has_equal_bounds(activations)) return true;
  size_t columns = ck_integer_columns(weights);
  scaling->offsets = calloc(columns + 1, 3 * sizeof(float));
  if (scaling->offsets == NULL) return false;
  scaling->centers = scaling->offsets + columns;
  scaling->steps = scaling->centers + columns;
  ck_row_coding coding = ck_row_coding_of(activations, 1);
  double lower = coding.lower, scale = coding.scale;
  for (size_t output = 0; output < weights->outputs; output++) {
    double total = 0;
    for (size_t group = 0; group < weights->groups; group++)
      total += (double)weights->totals[group * columns + output];
    double center = weights->centers[output], step = weights->scales[output];
    scaling->offsets[output] =
      (float)(weights->biases[output] + lower * (center * (double)count + step * total));
    scaling->centers[output] = (float)(scale * center);
    scaling->steps[output] = (float)(scale * step);
  }
  return true;
}

bool ck_integer_linear_takes(size_t inputs, size_t group_size) {
  if (inputs < 1 || inputs > CK_INTEGER_MOST_INPUTS) return false;
  if (group_size == 0 || group_size >= inputs) return true;
  return group_size % ck_integer_step == 0 &&
    (inputs - 1) / group_size < ck_integer_most_groups;
}

ck_integer_linear *ck_integer_linear_create(
  const uint8_t *codes, unsigned weight_bits, const float *lower, const float *scale,
  const float *bias, size_t outputs, size_t inputs, const ck_quantizer *activations) {
  if (weight_bits < 1 || weight_bits > 8 || !ck_has_levels(activations->levels, 255)) return NULL;
  size_t group_size = activations->group_size;
  if (!ck_integer_linear_takes(inputs, group_size)) return NULL;
  size_t group_inputs = group_size == 0 ? inputs : ck_group_length(inputs, group_size);
  ck_integer_linear *linear = calloc(1, sizeof *linear);
  if (linear == NULL) return NULL;
  ck_integer_weights *weights = &linear->weights;
  int limit = 1 << weight_bits;
  size_t panel_count = (outputs + ck_integer_panel_width - 1) / ck_integer_panel_width;
  weights->outputs = outputs;
  weights->inputs = inputs;
  weights->steps = (inputs + ck_integer_step - 1) / ck_integer_step;
  weights->groups = (inputs + group_inputs - 1) / group_inputs;
  weights->group_inputs = group_inputs;
  weights->activations = *activations;
  weights->safe_steps = (size_t)(INT16_MAX / (2 * (int)activations->levels * (limit / 2)));
  size_t columns = panel_count * ck_integer_panel_width;
  // Never zero bytes, for which null would not mean failure.
  weights->panels = calloc(columns + 1, (weights->steps + 1) * ck_integer_step);
  weights->biases = calloc(columns + 1, (3 + weights->groups) * sizeof(float));
  if (weights->panels == NULL || weights->biases == NULL ||
      !pack_codes(weights, codes, limit)) {
    ck_integer_linear_destroy(linear);
    return NULL;
  }
  weights->centers = weights->biases + columns;
  weights->scales = weights->centers + columns;
  weights->totals = weights->scales + columns;
  fold(weights, columns, codes, limit, lower, scale, bias);
  if (!ck_integer_scaling_create(weights, activations, inputs, &linear->scaling)) {
    ck_integer_linear_destroy(linear);
    return NULL;
  }
  return linear;
}

void ck_integer_linear_destroy(ck_integer_linear *linear) {
  if (linear == NULL) return;
  free(linear->weights.panels);
  free(linear->weights.biases);
  free(linear->scaling.offsets);
  free(linear);
}

size_t ck_integer_linear_byte_count(const ck_integer_linear *linear) {
  const ck_integer_weights *weights = &linear->weights;
  size_t columns = ck_integer_columns(weights);
  size_t floats = 3 + weights->groups + (linear->scaling.offsets == NULL ? 0 : 3);
  return columns * (weights->steps * ck_integer_step + floats * sizeof(float));
}

void ck_integer_linear_apply(
  const ck_integer_linear *linear, size_t rows, const float *x, size_t x_stride, float *y,
  size_t y_stride, ck_epilogue epilogue, const float *residual, size_t residual_stride) {
  const ck_integer_weights *weights = &linear->weights;
  const ck_integer_table *kernels = ck_current_level()->integer;
  _Alignas(64) uint8_t codes[ck_integer_batch];
  float lower[ck_integer_most_groups], scale[ck_integer_most_groups], sums[ck_integer_most_rows];
  ck_coded_row coded[ck_integer_most_rows];
  bool has_equal_bounds = linear->scaling.offsets != NULL;
  size_t stride = (weights->inputs + ck_integer_slack) / 16 * 16 + 16;
  size_t batch = ck_integer_batch_rows(weights, stride, kernels->block_rows);
  for (size_t row = 0; row < batch; row++) {
    coded[row].lower = lower + row * weights->groups;
    coded[row].scale = scale + row * weights->groups;
  }
  for (size_t first = 0; first < rows; first += batch) {
    size_t count = rows - first < batch ? rows - first : batch;
    kernels->code(
      &weights->activations, weights->inputs, count, x + first * x_stride, x_stride, codes, stride,
      coded, has_equal_bounds ? sums : NULL);
    float *target = y + first * y_stride;
    const float *other = residual == NULL ? NULL : residual + first * residual_stride;
    if (has_equal_bounds) {
      ck_integer_patches patches = {codes, stride, 1, weights->steps, 0, sums};
      kernels->multiply_patches(
        weights, &linear->scaling, count, &patches, target, y_stride, epilogue, other,
        residual_stride);
    } else {
      kernels->multiply(
        weights, count, codes, stride, coded, target, y_stride, epilogue, other, residual_stride);
    }
  }
}
