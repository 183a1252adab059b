// The reference for integer linear layers.

#include <stdbool.h>

#include "integer_weights.h"
#include "kernel_table.h"
#include "scalar_epilogue.h"

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

void ck_integer_linear_scalar(
  const ck_integer_weights *weights, size_t rows, const float *x, size_t x_stride, float *y,
  size_t y_stride, ck_epilogue epilogue, const float *residual, size_t residual_stride) {
  uint8_t codes[CK_INTEGER_MOST_INPUTS];
  ck_row_coding codings[ck_integer_most_groups];
  size_t columns = ck_integer_columns(weights);
  for (size_t row = 0; row < rows; row++) {
    // In double precision, because with many groups there are many terms that nearly cancel.
    double sum = 0;
    for (size_t group = 0; group < weights->groups; group++) {
      size_t first = group * weights->group_inputs;
      size_t count = ck_group_length(weights->inputs - first, weights->group_inputs);
      const float *inputs = x + row * x_stride + first;
      codings[group] = coding_of(&weights->activations, inputs, count);
      sum += (double)codings[group].lower * (double)count;
      sum += (double)codings[group].scale *
        (double)code_run(codings[group], inputs, count, codes + first);
    }
    for (size_t output = 0; output < weights->outputs; output++) {
      size_t panel = output / ck_integer_panel_width, column = output % ck_integer_panel_width;
      double scaled = 0;
      for (size_t group = 0; group < weights->groups; group++) {
        size_t first = group * weights->group_inputs;
        size_t end = first + ck_group_length(weights->inputs - first, weights->group_inputs);
        int32_t product = 0;
        for (size_t input = first; input < end; input++) {
          size_t step = panel * weights->steps + input / ck_integer_step;
          product += codes[input] *
            weights->panels[(step * ck_integer_panel_width + column) * ck_integer_step +
              input % ck_integer_step];
        }
        scaled += (double)codings[group].lower * (double)weights->totals[group * columns + output];
        scaled += (double)codings[group].scale * product;
      }
      float value = (float)(
        (double)weights->biases[output] + (double)weights->centers[output] * sum +
        (double)weights->scales[output] * scaled);
      y[row * y_stride + output] = ck_finished(
        value, epilogue, residual == NULL ? NULL : residual + row * residual_stride + output);
    }
  }
}
