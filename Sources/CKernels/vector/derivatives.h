// Training kernels in vectors of CK_WIDTH floats.

#include "../derivatives.h"
#include "arithmetic.h"

// Loads the first elements, at most a vector; missing ones are zero.
CK_INLINE vector load_some(const float *x, size_t count) {
  return count < CK_WIDTH ? load_first(x, count) : load(x);
}

CK_INLINE void store_some(float *x, vector value, size_t count) {
  if (count < CK_WIDTH)
    store_first(x, value, count);
  else
    store(x, value);
}

static void gelu_and_slope(float *x, float *y, size_t count) {
  for (size_t index = 0; index < count; index += CK_WIDTH) {
    size_t some = count - index;
    vector value = load_some(x + index, some);
    vector distribution = distribution_of(value);
    vector density = splat(0.398942280f) * exponential(splat(-0.5f) * value * value);
    store_some(y + index, value * distribution, some);
    store_some(x + index, fused(value, density, distribution), some);
  }
}

// MARK: Attention

static void biased_softmax(
  float *x, const float *bias, const float *mask, size_t rows, size_t columns) {
  for (size_t row = 0; row < rows; row++) {
    for (size_t column = 0; column < columns; column += CK_WIDTH) {
      size_t some = columns - column, place = row * columns + column;
      vector value = load_some(x + place, some) + load_some(bias + place, some);
      if (mask != NULL) value += load_some(mask + place, some);
      store_some(x + place, value, some);
    }
    // While the row is in the cache.
    ck_softmax(x + row * columns, 1, columns);
  }
}

static void softmax_gradient(
  const float *p, float *g, size_t rows, size_t columns, float *sum) {
  for (size_t row = 0; row < rows; row++, p += columns, g += columns) {
    vector mean = splat(0);
    for (size_t column = 0; column < columns; column += CK_WIDTH) {
      size_t some = columns - column;
      mean = fused(load_some(p + column, some), load_some(g + column, some), mean);
    }
    mean = splat(sum_of(mean));
    for (size_t column = 0; column < columns; column += CK_WIDTH) {
      size_t some = columns - column;
      vector gradient = load_some(p + column, some) * (load_some(g + column, some) - mean);
      store_some(g + column, gradient, some);
      if (sum == NULL) continue;
      float *target = sum + row * columns + column;
      store_some(target, load_some(target, some) + gradient, some);
    }
  }
}

// MARK: Quantization

// The number of elements summed in float32 before their sum is added in float64.
enum { sum_length = 128 * CK_WIDTH };

static ck_bound_sums row_gradient(
  const float *x, float factor, size_t columns, float lower, float upper, float scale, float *g) {
  ck_bound_sums sums = {0, 0, 0};
  const vector inverse = splat(1 / scale);
  for (size_t first = 0; first < columns; first += sum_length) {
    size_t end = columns - first < sum_length ? columns : first + sum_length;
    vector low = splat(0), high = splat(0), inner = splat(0);
    for (size_t column = first; column < end; column += CK_WIDTH) {
      // Gradients beyond the end are zero and add nothing.
      size_t some = end - column;
      vector value = load_some(x + column, some) * splat(factor);
      vector gradient = load_some(g + column, some);
      vector t = (value - splat(lower)) * inverse;
      vector rounded = (t + splat(0x1.8p23f)) - splat(0x1.8p23f);
      int_vector is_low = value <= splat(lower), is_high = value >= splat(upper);
      low += is_low ? gradient : splat(0);
      high += is_high ? gradient : splat(0);
      inner += is_low | is_high ? splat(0) : gradient * (rounded - t);
      int_vector is_clipped = (value < splat(lower)) | (value > splat(upper));
      store_some(g + column, is_clipped ? splat(0) : gradient * splat(factor), some);
    }
    sums.low += (double)sum_of(low);
    sums.high += (double)sum_of(high);
    sums.inner += (double)sum_of(inner);
  }
  return sums;
}

// MARK: Convolutions

// Processes up to CK_WIDTH channels of pixels that are `stride` apart.
CK_INLINE void some_depthwise_weight_gradient(
  size_t some, size_t stride, size_t height, size_t width, const float *x, const float *g,
  float *sum) {
  vector sums[9];
  for (size_t tap = 0; tap < 9; tap++) sums[tap] = splat(0);
  for (size_t row = 0; row < height; row++)
    for (size_t column = 0; column < width; column++) {
      vector gradient = load_some(g + (row * width + column) * stride, some);
      // Taps in rows and columns outside the image are skipped.
      size_t first_row = row == 0 ? 1 : 0, end_row = row + 1 == height ? 2 : 3;
      if (column == 0 || column + 1 == width) {
        for (size_t tap_row = first_row; tap_row < end_row; tap_row++)
          for (size_t tap = column == 0 ? 1 : 0; tap < (column + 1 == width ? 2u : 3u); tap++) {
            size_t place = (row + tap_row - 1) * width + column + tap - 1;
            sums[tap_row * 3 + tap] =
              fused(load_some(x + place * stride, some), gradient, sums[tap_row * 3 + tap]);
          }
        continue;
      }
      for (size_t tap_row = first_row; tap_row < end_row; tap_row++) {
        const float *start = x + ((row + tap_row - 1) * width + column - 1) * stride;
#pragma clang loop unroll(full)
        for (size_t tap = 0; tap < 3; tap++)
          sums[tap_row * 3 + tap] =
            fused(load_some(start + tap * stride, some), gradient, sums[tap_row * 3 + tap]);
      }
    }
  for (size_t tap = 0; tap < 9; tap++) {
    float values[CK_WIDTH];
    store(values, sums[tap]);
    for (size_t channel = 0; channel < some && channel < CK_WIDTH; channel++)
      sum[channel * 9 + tap] += values[channel];
  }
}

static void depthwise_weight_gradient(
  size_t channels, size_t height, size_t width, const float *x, const float *g, float *sum) {
  size_t channel = 0;
  for (; channel + CK_WIDTH <= channels; channel += CK_WIDTH)
    some_depthwise_weight_gradient(
      CK_WIDTH, channels, height, width, x + channel, g + channel, sum + channel * 9);
  if (channel < channels)
    some_depthwise_weight_gradient(
      channels - channel, channels, height, width, x + channel, g + channel, sum + channel * 9);
}

const ck_derivative_table CK_TABLE = CK_DERIVATIVE_TABLE;
