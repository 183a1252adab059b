#include "weights.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ckernels.h"
#include "kernel_table.h"
#include "winograd.h"

struct ck_linear {
  ck_weights weights;
};

struct ck_winograd {
  // Filters of 9 taps.
  ck_weights filters;
};

struct ck_convolution {
  ck_weights weights;
  ck_convolution_shape shape;
};

// Returns zeros aligned to 64 bytes, or null.
static float *aligned_zeros(size_t count) {
  size_t byte_count = (count * sizeof(float) + 63) / 64 * 64;
  float *elements = aligned_alloc(64, byte_count == 0 ? 64 : byte_count);
  if (elements != NULL) memset(elements, 0, byte_count);
  return elements;
}

static void free_weights(ck_weights *weights) {
  free(weights->panels);
  free(weights->bias);
  free(weights->zeros);
}

// Fills `weights` from `matrix` [outputs, inputs, taps]; returns whether memory sufficed.
static bool pack(
  ck_weights *weights, const float *matrix, const float *bias, size_t outputs, size_t inputs,
  size_t taps) {
  weights->outputs = outputs;
  weights->inputs = inputs;
  weights->taps = taps;
  size_t panel_count = ck_panel_count(weights);
  size_t product, element_count;
  if (__builtin_mul_overflow(inputs, taps * ck_panel_width, &product) ||
      __builtin_mul_overflow(product, panel_count, &element_count) ||
      element_count > SIZE_MAX / 8)
    return false;
  weights->panels = aligned_zeros(element_count);
  weights->bias = aligned_zeros(panel_count * ck_panel_width);
  weights->zeros = aligned_zeros(inputs);
  if (weights->panels == NULL || weights->bias == NULL || weights->zeros == NULL) return false;
  for (size_t output = 0; output < outputs; output++) {
    size_t column = output % ck_panel_width;
    float *panel = weights->panels + output / ck_panel_width * ck_panel_stride(weights);
    const float *row = matrix + output * inputs * taps;
    for (size_t input = 0; input < inputs; input++)
      for (size_t tap = 0; tap < taps; tap++)
        panel[(tap * inputs + input) * ck_panel_width + column] = row[input * taps + tap];
    if (bias != NULL) weights->bias[output] = bias[output];
  }
  return true;
}

// MARK: Linear layers

ck_linear *ck_linear_create(
  const float *weight, const float *bias, size_t outputs, size_t inputs) {
  ck_linear *linear = calloc(1, sizeof *linear);
  if (linear != NULL && !pack(&linear->weights, weight, bias, outputs, inputs, 1)) {
    ck_linear_destroy(linear);
    return NULL;
  }
  return linear;
}

void ck_linear_destroy(ck_linear *linear) {
  if (linear != NULL) free_weights(&linear->weights);
  free(linear);
}

void ck_linear_apply(
  const ck_linear *linear, size_t rows, const float *x, size_t x_stride, float *y, size_t y_stride,
  ck_epilogue epilogue, const float *residual, size_t residual_stride) {
  ck_kernels()->linear(
    &linear->weights, rows, x, x_stride, y, y_stride, epilogue, residual, residual_stride);
}

// MARK: Convolutions

ck_convolution *ck_convolution_create(
  const float *weight, const float *bias, const ck_convolution_shape *shape) {
  ck_convolution *convolution = calloc(1, sizeof *convolution);
  if (convolution == NULL) return NULL;
  size_t taps = shape->kernel_height * shape->kernel_width;
  convolution->shape = *shape;
  if (!pack(&convolution->weights, weight, bias, shape->outputs, shape->inputs, taps)) {
    ck_convolution_destroy(convolution);
    return NULL;
  }
  return convolution;
}

void ck_convolution_destroy(ck_convolution *convolution) {
  if (convolution != NULL) free_weights(&convolution->weights);
  free(convolution);
}

void ck_convolution_apply(
  const ck_convolution *convolution, size_t height, size_t width, size_t first_row, size_t rows,
  const float *x, size_t x_stride, float *y, size_t y_stride, ck_epilogue epilogue,
  const float *residual, size_t residual_stride) {
  ck_kernels()->convolution(
    &convolution->weights, &convolution->shape, height, width, first_row, rows, x, x_stride, y,
    y_stride, epilogue, residual, residual_stride);
}

// MARK: Winograd's convolutions

ck_winograd *ck_winograd_create(
  const float *weight, const float *bias, size_t outputs, size_t inputs) {
  ck_winograd *winograd = calloc(1, sizeof *winograd);
  if (winograd != NULL && !pack(&winograd->filters, weight, bias, outputs, inputs, 9)) {
    ck_winograd_destroy(winograd);
    return NULL;
  }
  return winograd;
}

void ck_winograd_destroy(ck_winograd *winograd) {
  if (winograd != NULL) free_weights(&winograd->filters);
  free(winograd);
}

size_t ck_winograd_scratch_count(const ck_winograd *winograd) {
  return ck_winograd_scratch(&winograd->filters);
}

size_t ck_winograd_panel_count(const ck_winograd *winograd) {
  return ck_panel_count(&winograd->filters);
}

// The filters' values as weights with one tap for each of the places at which they are evaluated.
static ck_weights values_of(const ck_winograd *winograd, float *values) {
  ck_weights weights = winograd->filters;
  weights.taps = ck_patch_area;
  weights.panels = ck_line_start(values);
  return weights;
}

size_t ck_winograd_value_count(const ck_winograd *winograd) {
  ck_weights weights = values_of(winograd, NULL);
  // The values begin at the start of a line.
  return ck_panel_count(&weights) * ck_panel_stride(&weights) + 15;
}

void ck_winograd_evaluate(
  const ck_winograd *winograd, size_t first_panel, size_t panels, float *values) {
  const ck_weights *filters = &winograd->filters;
  ck_weights weights = values_of(winograd, values);
  for (size_t panel = first_panel; panel < first_panel + panels; panel++)
    ck_kernels()->filter_values(
      filters->inputs, filters->panels + panel * ck_panel_stride(filters),
      weights.panels + panel * ck_panel_stride(&weights));
}

void ck_winograd_apply(
  const ck_winograd *winograd, const float *values, size_t height, size_t width, size_t first_row,
  size_t rows, const float *x, size_t x_stride, float *y, size_t y_stride, float *scratch) {
  // No kernel writes to its weights.
  ck_weights weights = values_of(winograd, (float *)values);
  ck_kernels()->winograd(
    &weights, height, width, first_row, rows, x, x_stride, y, y_stride, scratch);
}
