// The reference for integer linear layers.

#include <stdbool.h>

#include "integer_weights.h"
#include "scalar_epilogue.h"
#include "scalar_integer.h"
#include "scalar_moments.h"

// Fills `codes` and returns their sum, or NaN if an element is NaN.
static float code_run(ck_row_coding coding, const float *x, size_t count, uint8_t *codes) {
  int32_t sum = 0;
  bool has_nan = false;
  for (size_t index = 0; index < count; index++) {
    float clipped =
      x[index] < coding.lower ? coding.lower : x[index] > coding.upper ? coding.upper : x[index];
    float code = (clipped - coding.lower) / coding.scale;
    has_nan = has_nan || code != code;
    codes[index] = has_nan ? 0 : (uint8_t)rintf(code);
    sum += codes[index];
  }
  return has_nan ? NAN : (float)sum;
}

static ck_row_coding coding_of(const ck_quantizer *activations, const float *x, size_t count) {
  if (activations->group_size != 0)
    return ck_group_coding_of(activations, ck_scalar_kernels.range(x, count));
  return ck_row_coding_of(
    activations, activations->is_row_scaled ? ck_scalar_kernels.row_magnitude(x, count) : 1);
}

static void code_rows(
  const ck_quantizer *activations, size_t columns, size_t rows, const float *x, size_t x_stride,
  uint8_t *codes, size_t stride, ck_coded_row *coded, float *sums) {
  size_t group_size = activations->group_size == 0 ? columns : activations->group_size;
  for (size_t row = 0; row < rows; row++) {
    // In double precision, because with many groups there are many terms that nearly cancel.
    double sum = 0;
    float code_sum = 0;
    for (size_t first = 0, group = 0; first < columns; first += group_size, group++) {
      size_t count = ck_group_length(columns - first, group_size);
      const float *inputs = x + row * x_stride + first;
      ck_row_coding coding = coding_of(activations, inputs, count);
      float codes_of_group = code_run(coding, inputs, count, codes + row * stride + first);
      sum += (double)coding.lower * (double)count;
      sum += (double)coding.scale * (double)codes_of_group;
      code_sum += codes_of_group;
      coded[row].lower[group] = coding.lower;
      coded[row].scale[group] = coding.scale;
    }
    coded[row].sum = sum;
    if (sums != NULL) sums[row] = code_sum;
  }
}

static void multiply_rows(
  const ck_integer_weights *weights, size_t rows, const uint8_t *codes, size_t stride,
  const ck_coded_row *coded, float *y, size_t y_stride, ck_epilogue epilogue,
  const float *residual, size_t residual_stride) {
  size_t columns = ck_integer_columns(weights);
  for (size_t row = 0; row < rows; row++)
    for (size_t output = 0; output < weights->outputs; output++) {
      size_t panel = output / ck_integer_panel_width, column = output % ck_integer_panel_width;
      double scaled = 0;
      for (size_t group = 0; group < weights->groups; group++) {
        size_t first = group * weights->group_inputs;
        size_t end = first + ck_group_length(weights->inputs - first, weights->group_inputs);
        int32_t product = 0;
        for (size_t input = first; input < end; input++) {
          size_t step = panel * weights->steps + input / ck_integer_step;
          product += codes[row * stride + input] *
            weights->panels[(step * ck_integer_panel_width + column) * ck_integer_step +
              input % ck_integer_step];
        }
        scaled +=
          (double)coded[row].lower[group] * (double)weights->totals[group * columns + output];
        scaled += (double)coded[row].scale[group] * product;
      }
      float value = (float)(
        (double)weights->biases[output] + (double)weights->centers[output] * coded[row].sum +
        (double)weights->scales[output] * scaled);
      y[row * y_stride + output] = ck_finished(
        value, epilogue, residual == NULL ? NULL : residual + row * residual_stride + output);
    }
}

// Returns the sum of the products of a row's codes with those of an output's weights.
static int32_t patch_product(
  const ck_integer_weights *weights, const ck_integer_patches *patches, size_t row,
  size_t output) {
  size_t panel = output / ck_integer_panel_width, column = output % ck_integer_panel_width;
  const int8_t *codes = weights->panels +
    (panel * weights->steps * ck_integer_panel_width + column) * ck_integer_step;
  int32_t product = 0;
  for (size_t run = 0; run < patches->runs; run++)
    for (size_t index = 0; index < patches->run_steps * ck_integer_step; index++) {
      size_t step = run * patches->run_steps + index / ck_integer_step;
      product += patches->codes[row * patches->stride + run * patches->distance + index] *
        codes[step * ck_integer_panel_width * ck_integer_step + index % ck_integer_step];
    }
  return product;
}

static void multiply_patches(
  const ck_integer_weights *weights, const ck_integer_scaling *scaling, size_t rows,
  const ck_integer_patches *patches, float *y, size_t y_stride, ck_epilogue epilogue,
  const float *residual, size_t residual_stride) {
  for (size_t row = 0; row < rows; row++)
    for (size_t output = 0; output < weights->outputs; output++) {
      float value = (float)(
        (double)scaling->offsets[output] +
        (double)scaling->centers[output] * (double)patches->sums[row] +
        (double)scaling->steps[output] * patch_product(weights, patches, row, output));
      y[row * y_stride + output] = ck_finished(
        value, epilogue, residual == NULL ? NULL : residual + row * residual_stride + output);
    }
}

static void multiply_to_codes(
  const ck_integer_weights *weights, const ck_output_coding *coding, size_t rows,
  const ck_integer_patches *patches, uint8_t *codes, size_t stride) {
  const ck_integer_scaling *scaling = &coding->scaling;
  for (size_t row = 0; row < rows; row++)
    for (size_t output = 0; output < weights->outputs; output++) {
      // As the vectors' kernels do, so that codes are the same.
      float product = (float)patch_product(weights, patches, row, output);
      float value = fmaf(scaling->centers[output], patches->sums[row], scaling->offsets[output]);
      value = fmaf(scaling->steps[output], product, value);
      if (coding->epilogue != CK_EPILOGUE_NONE)
        value = fmaf(ck_finished(value, coding->epilogue, NULL), coding->factor, coding->offset);
      codes[row * stride + output] = ck_code_of(value, coding->largest[output]);
    }
}

static void sum_codes(
  size_t rows, size_t columns, const uint8_t *codes, size_t stride, const float *marks,
  float *sums) {
  for (size_t row = 0; row < rows; row++) {
    int32_t sum = 0;
    for (size_t column = 0; column < columns; column++) sum += codes[row * stride + column];
    sums[row] = marks[row] + (float)sum;
  }
}

static void normalize_to_codes(
  const ck_coded_norm *norm, size_t rows, size_t columns, const float *x, size_t x_stride,
  const ck_code_rows *y) {
  for (size_t row = 0; row < rows; row++, x += x_stride) {
    ck_moments moments = ck_moments_of(x, columns, norm->epsilon);
    for (size_t column = 0; column < columns; column++) {
      float value = (x[column] - moments.mean) * moments.factor;
      value = fmaf(value, norm->factors[column], norm->offsets[column]);
      y->codes[row * y->stride + column] = ck_code_of(value, norm->largest);
    }
    y->marks[row] = moments.factor * 0 + moments.mean * 0;
  }
}

const ck_integer_table ck_integer_scalar = {
  1, code_rows, multiply_rows, multiply_patches, multiply_to_codes, sum_codes,
  normalize_to_codes, ck_scalar_integer_attention,
};
