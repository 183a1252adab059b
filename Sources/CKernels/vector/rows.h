// Operations on rows or single elements.

#include "run_codings.h"
#include "moments.h"

static void layer_norm(
  size_t rows, size_t columns, const float *x, size_t x_stride, const float *gamma,
  const float *beta, float epsilon, float *y, size_t y_stride) {
  size_t whole = columns / CK_WIDTH * CK_WIDTH, rest = columns - whole;
  for (size_t row = 0; row < rows; row++, x += x_stride, y += y_stride) {
    ck_moments moments = moments_of(x, columns, epsilon);
    vector mean = splat(moments.mean), factor = splat(moments.factor);
    for (size_t column = 0; column < whole; column += CK_WIDTH)
      store(
        y + column,
        fused((load(x + column) - mean) * factor, load(gamma + column), load(beta + column)));
    if (rest != 0)
      store_first(
        y + whole,
        fused(
          (load_first(x + whole, rest) - mean) * factor, load_first(gamma + whole, rest),
          load_first(beta + whole, rest)),
        rest);
  }
}

// Defines a function that applies `function` to `count` elements in place.
#define CK_ELEMENTWISE(name, function) \
  static void name(float *x, size_t count) { \
    size_t index = 0; \
    for (; index + CK_WIDTH <= count; index += CK_WIDTH) \
      store(x + index, function(load(x + index))); \
    if (index < count) \
      store_first(x + index, function(load_first(x + index, count - index)), count - index); \
  }

CK_ELEMENTWISE(gelu, gelu_of)
CK_ELEMENTWISE(sigmoid, sigmoid_of)
CK_ELEMENTWISE(silu, silu_of)
CK_ELEMENTWISE(mish, mish_of)

static void softmax(float *x, size_t rows, size_t columns) {
  size_t whole = columns / CK_WIDTH * CK_WIDTH, rest = columns - whole;
  for (size_t row = 0; row < rows; row++, x += columns) {
    vector largest = splat(-INFINITY);
    for (size_t column = 0; column < whole; column += CK_WIDTH)
      largest = larger(load(x + column), largest);
    // The rest is padded with −∞.
    vector last = splat(-INFINITY);
    if (rest != 0) last = places_before(rest) ? load_first(x + whole, rest) : last;
    largest = larger(last, largest);
    vector offset = splat(largest_of(largest));
    last = exponential(last - offset);
    vector sum = last;
    for (size_t column = 0; column < whole; column += CK_WIDTH) {
      vector value = exponential(load(x + column) - offset);
      store(x + column, value);
      sum += value;
    }
    vector factor = splat(1 / sum_of(sum));
    for (size_t column = 0; column < whole; column += CK_WIDTH)
      store(x + column, load(x + column) * factor);
    if (rest != 0) store_first(x + whole, last * factor, rest);
  }
}

static float row_magnitude(const float *x, size_t count) { return largest_magnitude(x, count); }

static ck_range range(const float *x, size_t count) { return range_of(x, count); }

CK_INLINE void quantize_all(
  const float *x, float *y, size_t count, ck_row_coding coding, float reciprocal) {
  size_t index = 0;
  for (; index + CK_WIDTH <= count; index += CK_WIDTH)
    store(y + index, quantized(load(x + index), coding, reciprocal));
  size_t rest = count - index;
  if (rest != 0)
    store_first(y + index, quantized(load_first(x + index, rest), coding, reciprocal), rest);
}

typedef struct quantizing {
  const float *x;
  size_t x_stride;
  float *y;
  size_t y_stride;
} quantizing;

CK_INLINE void quantize_run(
  void *work, ck_row_coding coding, float reciprocal, size_t row, size_t column, size_t count) {
  const quantizing *quantizing = work;
  quantize_all(
    quantizing->x + row * quantizing->x_stride + column,
    quantizing->y + row * quantizing->y_stride + column, count, coding, reciprocal);
}

static void quantize(
  const ck_quantizer *quantizer, const float *x, size_t rows, size_t columns, size_t x_stride,
  float *y, size_t y_stride) {
  if (columns == 0) return;
  if (!ck_has_equal_bounds(quantizer)) {
    quantizing quantizing = {x, x_stride, y, y_stride};
    return for_each_run(
      false, quantizer, x, rows, columns, x_stride, quantize_run, &quantizing);
  }
  ck_row_coding coding = ck_row_coding_of(quantizer, 1);
  float reciprocal = reciprocal_of(coding.scale);
  if (x_stride == columns && y_stride == columns)
    return quantize_all(x, y, rows * columns, coding, reciprocal);
  for (size_t row = 0; row < rows; row++, x += x_stride, y += y_stride)
    quantize_all(x, y, columns, coding, reciprocal);
}
