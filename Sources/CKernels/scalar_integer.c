// The reference of linear layers over whole numbers.

#include <stdbool.h>

#include "integer_weights.h"
#include "kernel_table.h"
#include "scalar_epilogue.h"

// Fills `codes` and returns their sum, or NaN when there is a NaN.
static float code_row(
  const ck_integer_weights *weights, ck_row_coding coding, const float *x, uint8_t *codes) {
  int32_t sum = 0;
  bool has_nan = false;
  for (size_t input = 0; input < weights->inputs; input++) {
    float clipped =
      x[input] < coding.lower ? coding.lower : x[input] > coding.upper ? coding.upper : x[input];
    float code = (clipped - coding.lower) / coding.scale;
    has_nan = has_nan || code != code;
    codes[input] = has_nan ? 0 : (uint8_t)rintf(code);
    sum += codes[input];
  }
  return has_nan ? NAN : (float)sum;
}

void ck_integer_linear_scalar(
  const ck_integer_weights *weights, size_t rows, const float *x, size_t x_stride, float *y,
  size_t y_stride, ck_epilogue epilogue, const float *residual, size_t residual_stride) {
  uint8_t codes[CK_INTEGER_MOST_INPUTS];
  for (size_t row = 0; row < rows; row++) {
    const float *inputs = x + row * x_stride;
    const ck_quantizer *activations = &weights->activations;
    ck_row_coding coding = ck_row_coding_of(
      activations,
      activations->is_row_scaled ? ck_scalar_kernels.row_magnitude(inputs, weights->inputs) : 1);
    float sum = code_row(weights, coding, inputs, codes);
    for (size_t output = 0; output < weights->outputs; output++) {
      size_t panel = output / ck_integer_panel_width, column = output % ck_integer_panel_width;
      int32_t product = 0;
      for (size_t input = 0; input < weights->inputs; input++) {
        size_t step = panel * weights->steps + input / ck_integer_step;
        product += codes[input] *
          weights->panels[(step * ck_integer_panel_width + column) * ck_integer_step +
            input % ck_integer_step];
      }
      float value = weights->constants[output] + weights->sum_factors[output] * sum +
        weights->factors[output] * (float)product;
      value = value * coding.magnitude + weights->biases[output];
      y[row * y_stride + output] = ck_finished(
        value, epilogue, residual == NULL ? NULL : residual + row * residual_stride + output);
    }
  }
}
