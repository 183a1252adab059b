// The reference: plain C, one element at a time.

#include <math.h>

#include "kernel_table.h"
#include "row_coding.h"
#include "row_sums.h"
#include "scalar_epilogue.h"
#include "scalar_moments.h"
#include "scalar_winograd.h"

static inline float sigmoid_of(float x) { return 1 / (1 + expf(-x)); }

// MARK: Products

static void linear(
  const ck_weights *weights, size_t rows, const float *x, size_t x_stride, float *y,
  size_t y_stride, ck_epilogue epilogue, const float *residual, size_t residual_stride) {
  for (size_t row = 0; row < rows; row++) {
    for (size_t output = 0; output < weights->outputs; output++) {
      const float *column = weights->panels +
        output / ck_panel_width * ck_panel_stride(weights) + output % ck_panel_width;
      float sum = weights->bias[output];
      for (size_t input = 0; input < weights->inputs; input++)
        sum += x[row * x_stride + input] * column[input * ck_panel_width];
      const float *other = residual == NULL ? NULL : residual + row * residual_stride + output;
      y[row * y_stride + output] = ck_finished(sum, epilogue, other);
    }
  }
}

static void convolution(
  const ck_weights *weights, const ck_convolution_shape *shape, size_t height, size_t width,
  size_t first_row, size_t rows, const float *x, size_t x_stride, float *y, size_t y_stride,
  ck_epilogue epilogue, const float *residual, size_t residual_stride) {
  size_t inputs = weights->inputs;
  size_t columns = ck_output_side(shape, width, shape->kernel_width, shape->padding_width);
  for (size_t place = first_row * columns; place < (first_row + rows) * columns; place++)
    for (size_t output = 0; output < weights->outputs; output++) {
      const float *panel = weights->panels +
        output / ck_panel_width * ck_panel_stride(weights) + output % ck_panel_width;
      float sum = weights->bias[output];
      for (size_t tap = 0; tap < weights->taps; tap++) {
        size_t row = place / columns * shape->step + tap / shape->kernel_width * shape->dilation;
        size_t column =
          place % columns * shape->step + tap % shape->kernel_width * shape->dilation;
        if (!ck_find_pixel(shape->padding, height, shape->padding_height, row, &row) ||
            !ck_find_pixel(shape->padding, width, shape->padding_width, column, &column))
          continue;
        const float *pixel = x + (row * width + column) * x_stride;
        for (size_t input = 0; input < inputs; input++)
          sum += pixel[input] * panel[(tap * inputs + input) * ck_panel_width];
      }
      const float *other = residual == NULL ? NULL : residual + place * residual_stride + output;
      y[place * y_stride + output] = ck_finished(sum, epilogue, other);
    }
}

static void filter_values(size_t inputs, const float *filters, float *values) {
  ck_filter_values(inputs, filters, values);
}

static void winograd(
  const ck_weights *weights, size_t height, size_t width, size_t first_row, size_t rows,
  const float *x, size_t x_stride, float *y, size_t y_stride, float *scratch) {
  size_t end_row = first_row + rows;
  for (size_t row = first_row; row < end_row; row += ck_tile_side)
    for (size_t column = 0; column < width; column += ck_tile_side) {
      ck_transform_pixels(weights->inputs, height, width, row, column, x, x_stride, scratch);
      for (size_t output = 0; output < weights->outputs; output++) {
        float results[ck_tile_area];
        ck_multiply_tile(weights, output, scratch, results);
        for (size_t place = 0; place < ck_tile_area; place++) {
          size_t down = row + place / ck_tile_side, across = column + place % ck_tile_side;
          if (down < end_row && across < width)
            y[(down * width + across) * y_stride + output] = results[place];
        }
      }
    }
}

static void depthwise_convolution(
  const float *weight, const float *bias, size_t channels, size_t height, size_t width,
  size_t first_row, size_t rows, const float *x, size_t x_stride, float *y, size_t y_stride,
  ck_epilogue epilogue) {
  for (size_t row = first_row; row < first_row + rows; row++)
    for (size_t column = 0; column < width; column++)
      for (size_t channel = 0; channel < channels; channel++) {
        float sum = bias == NULL ? 0 : bias[channel];
        for (size_t tap = 0; tap < 9; tap++) {
          size_t tap_row = row + tap / 3, tap_column = column + tap % 3;
          if (tap_row < 1 || tap_row > height || tap_column < 1 || tap_column > width) continue;
          sum += x[((tap_row - 1) * width + tap_column - 1) * x_stride + channel] *
            weight[channel * 9 + tap];
        }
        y[(row * width + column) * y_stride + channel] = ck_finished(sum, epilogue, NULL);
      }
}

// MARK: Normalization and activations

static void layer_norm(
  size_t rows, size_t columns, const float *x, size_t x_stride, const float *gamma,
  const float *beta, float epsilon, float *y, size_t y_stride) {
  for (size_t row = 0; row < rows; row++, x += x_stride, y += y_stride) {
    ck_moments moments = ck_moments_of(x, columns, epsilon);
    for (size_t column = 0; column < columns; column++)
      y[column] = (x[column] - moments.mean) * moments.factor * gamma[column] + beta[column];
  }
}

static void gelu(float *x, size_t count) {
  for (size_t index = 0; index < count; index++) x[index] = ck_gelu_of(x[index]);
}

static void sigmoid(float *x, size_t count) {
  for (size_t index = 0; index < count; index++) x[index] = sigmoid_of(x[index]);
}

static void silu(float *x, size_t count) {
  for (size_t index = 0; index < count; index++) x[index] *= sigmoid_of(x[index]);
}

static void mish(float *x, size_t count) {
  for (size_t index = 0; index < count; index++) {
    // tanh(ln(1 + n)) = (n² + 2 n) / (n² + 2 n + 2), which is 1 long before n = e⁴⁰.
    float n = expf(x[index] < 40 ? x[index] : 40), t = n * (n + 2);
    x[index] *= t / (t + 2);
  }
}

static void softmax(float *x, size_t rows, size_t columns) {
  for (size_t row = 0; row < rows; row++, x += columns) {
    float highest = -INFINITY, sum = 0;
    for (size_t column = 0; column < columns; column++)
      if (x[column] > highest) highest = x[column];
    for (size_t column = 0; column < columns; column++)
      sum += x[column] = expf(x[column] - highest);
    for (size_t column = 0; column < columns; column++) x[column] /= sum;
  }
}

// MARK: Attention

static float row_magnitude(const float *x, size_t count) {
  float largest = 0;
  for (size_t index = 0; index < count; index++)
    if (fabsf(x[index]) > largest) largest = fabsf(x[index]);
  return largest < CK_LEAST_ROW_MAGNITUDE ? 0 : largest;
}

static ck_range range(const float *x, size_t count) {
  ck_range found = {INFINITY, -INFINITY};
  for (size_t index = 0; index < count; index++) {
    if (x[index] < found.least) found.least = x[index];
    if (x[index] > found.greatest) found.greatest = x[index];
  }
  return found;
}

static float quantized(ck_row_coding coding, float x) {
#pragma STDC FP_CONTRACT OFF  // the same bits everywhere
  float clipped = x < coding.lower ? coding.lower : x > coding.upper ? coding.upper : x;
  return rintf((clipped - coding.lower) / coding.scale) * coding.scale + coding.lower;
}

static void quantize(
  const ck_quantizer *quantizer, const float *x, size_t rows, size_t columns, size_t x_stride,
  float *y, size_t y_stride) {
  for (size_t row = 0; row < rows; row++, x += x_stride, y += y_stride) {
    size_t length = quantizer->group_size == 0 ? columns : quantizer->group_size;
    float magnitude = quantizer->is_row_scaled ? row_magnitude(x, columns) : 1;
    for (size_t first = 0; first < columns; first += length) {
      size_t count = ck_group_length(columns - first, length);
      ck_row_coding coding =
        quantizer->group_size != 0
          ? ck_group_coding_of(quantizer, range(x + first, count))
          : ck_row_coding_of(quantizer, magnitude);
      for (size_t column = first; column < first + count; column++)
        y[column] = quantized(coding, x[column]);
    }
  }
}

static void head_products(
  size_t rows, size_t columns, size_t size, const float *x, size_t x_stride, const float *y,
  size_t y_stride, float *sums) {
  for (size_t row = 0; row < rows; row++, x += x_stride, y += y_stride)
    for (size_t column = 0; column < columns; column++)
      for (size_t other = 0; other < size; other++)
        sums[column * size + other] += x[column] * y[column / size * size + other];
}

static void attention(
  size_t queries, size_t keys, size_t head, const float *q, size_t q_stride, const float *k,
  size_t k_stride, const float *v, size_t v_stride, float scale, const float *bias,
  const float *mask, const ck_quantizer *quantizer, float *out, size_t out_stride,
  float *scratch) {
  for (size_t query = 0; query < queries; query++) {
    for (size_t key = 0; key < keys; key++) {
      float sum = 0;
      for (size_t element = 0; element < head; element++)
        sum += q[query * q_stride + element] * k[key * k_stride + element];
      sum *= scale;
      if (bias != NULL) sum += bias[key * queries + query];
      if (mask != NULL) sum += mask[key * queries + query];
      scratch[key] = sum;
    }
    softmax(scratch, 1, keys);
    if (quantizer != NULL) {
      quantize(quantizer, scratch, 1, keys, keys, scratch, keys);
      if (quantizer->is_normalized) ck_normalize_rows(scratch, 1, keys, keys);
    }
    for (size_t element = 0; element < head; element++) {
      float sum = 0;
      for (size_t key = 0; key < keys; key++) sum += scratch[key] * v[key * v_stride + element];
      out[query * out_stride + element] = sum;
    }
  }
}

const ck_kernel_table ck_scalar_kernels = CK_KERNEL_TABLE;
