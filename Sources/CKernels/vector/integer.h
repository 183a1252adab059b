// Linear layers over whole numbers: rows are coded, then blocks of their codes multiplied.

#include "../integer_weights.h"

// Codes `inputs` elements and fills up with zeros to whole steps; returns the sum of the codes, or
// NaN when there is a NaN.
CK_INLINE float code_row(
  const ck_integer_weights *weights, ck_row_coding coding, const float *x, uint8_t *codes) {
  float reciprocal = 1 / coding.scale;
  int_vector sum = (int_vector)0, nans = (int_vector)0;
  for (size_t input = 0; input < weights->inputs; input += CK_WIDTH) {
    size_t rest = weights->inputs - input;
    vector elements = rest < CK_WIDTH ? load_first(x + input, rest) : load(x + input);
    vector shifted = shifted_codes(elements, coding, reciprocal);
    nans |= shifted != shifted;
    int_vector some = __builtin_bit_cast(int_vector, shifted) & 255;
    if (rest < CK_WIDTH) some &= places_before(rest);
    sum += some;
    store_codes(codes + input, some);
  }
  return is_any(nans) ? NAN : sum_of(__builtin_convertvector(sum, vector));
}

// Bytes from one row of codes to the next one: a vector may be stored at the end.
CK_INLINE size_t code_stride(const ck_integer_weights *weights) {
  return (weights->inputs + CK_WIDTH - 1) / CK_WIDTH * CK_WIDTH;
}

// Scales the sums of products of a block and stores them.
CK_INLINE void finish_block(
  const ck_integer_weights *weights, size_t rows, size_t column, size_t count,
  const int32_t *products, const float *sums, const float *magnitudes, float *y,
  size_t y_stride, ck_epilogue epilogue, const float *residual, size_t residual_stride) {
  for (size_t row = 0; row < rows; row++)
    for (size_t index = 0; index < count; index += CK_WIDTH) {
      int_vector product;
      memcpy(&product, products + row * integer_group_width + index, sizeof product);
      vector value = fused(
        load(weights->sum_factors + column + index), splat(sums[row]),
        load(weights->constants + column + index));
      value = fused(
        load(weights->factors + column + index), __builtin_convertvector(product, vector), value);
      value = fused(value, splat(magnitudes[row]), load(weights->biases + column + index));
      float *target = y + row * y_stride + column + index;
      const float *other =
        epilogue == CK_EPILOGUE_ADD ? residual + row * residual_stride + column + index : NULL;
      vector added = splat(0);
      if (index + CK_WIDTH <= count) {
        if (other != NULL) added = load(other);
        store(target, finished(value, epilogue, added));
      } else {
        if (other != NULL) added = load_first(other, count - index);
        store_first(target, finished(value, epilogue, added), count - index);
      }
    }
}

// All columns of as many rows as there is room for.
CK_INLINE void multiply_codes(
  const ck_integer_weights *weights, size_t rows, const uint8_t *codes, const float *sums,
  const float *magnitudes, float *y, size_t y_stride, ck_epilogue epilogue,
  const float *residual, size_t residual_stride) {
  _Alignas(64) int32_t products[integer_block_rows * integer_group_width];
  for (size_t column = 0; column < weights->outputs; column += integer_group_width) {
    size_t count = weights->outputs - column;
    if (count > integer_group_width) count = integer_group_width;
    size_t panels = (count + ck_integer_panel_width - 1) / ck_integer_panel_width;
    for (size_t row = 0, step; row < rows; row += step) {
      step = rows - row >= integer_block_rows ? integer_block_rows : 1;
      multiply_block(
        weights, step == 1 ? 1 : integer_block_rows, panels, column / ck_integer_panel_width,
        codes + row * code_stride(weights), code_stride(weights), products);
      finish_block(
        weights, step, column, count, products, sums + row, magnitudes + row,
        y + row * y_stride, y_stride, epilogue,
        residual == NULL ? NULL : residual + row * residual_stride, residual_stride);
    }
  }
}

void CK_INTEGER_KERNEL(
  const ck_integer_weights *weights, size_t rows, const float *x, size_t x_stride, float *y,
  size_t y_stride, ck_epilogue epilogue, const float *residual, size_t residual_stride) {
  enum { most_rows = 96 };
  _Alignas(64) uint8_t codes[ck_integer_batch];
  float sums[most_rows], magnitudes[most_rows];
  const ck_quantizer *activations = &weights->activations;
  size_t stride = code_stride(weights);
  size_t batch = stride == 0 || ck_integer_batch / stride > most_rows ? most_rows
    : ck_integer_batch / stride;
  for (size_t first = 0; first < rows; first += batch) {
    size_t count = rows - first < batch ? rows - first : batch;
    for (size_t row = 0; row < count; row++) {
      const float *inputs = x + (first + row) * x_stride;
      magnitudes[row] =
        activations->is_row_scaled ? largest_magnitude(inputs, weights->inputs) : 1;
      sums[row] = code_row(
        weights, ck_row_coding_of(activations, magnitudes[row]), inputs, codes + row * stride);
    }
    float *target = y + first * y_stride;
    const float *other = residual == NULL ? NULL : residual + first * residual_stride;
    switch (epilogue) {
      case CK_EPILOGUE_NONE:
        multiply_codes(
          weights, count, codes, sums, magnitudes, target, y_stride, CK_EPILOGUE_NONE, NULL, 0);
        break;
      case CK_EPILOGUE_GELU:
        multiply_codes(
          weights, count, codes, sums, magnitudes, target, y_stride, CK_EPILOGUE_GELU, NULL, 0);
        break;
      default:
        multiply_codes(
          weights, count, codes, sums, magnitudes, target, y_stride, epilogue, other,
          residual_stride);
    }
  }
}
