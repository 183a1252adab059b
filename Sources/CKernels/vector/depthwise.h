// 3×3 convolutions with one filter per channel. Four pixels at a time share their loads.

enum { pixel_count = 4 };

// Computes `count` pixels from (row, column) on, whose filters do not extend beyond the left and
// right edges of the image; `filter` is [9, CK_WIDTH].
CK_INLINE void depthwise_pixels(
  int count, const float *filter, vector bias, size_t height, size_t width, size_t row,
  size_t column, const float *x, size_t x_stride, float *y, size_t y_stride,
  ck_epilogue epilogue) {
  vector sum[pixel_count];
#pragma clang loop unroll(full)
  for (int pixel = 0; pixel < count; pixel++) sum[pixel] = bias;
  for (size_t tap_row = row == 0 ? 1 : 0; tap_row < 3 && row + tap_row <= height; tap_row++) {
    const float *start = x + ((row + tap_row - 1) * width + column - 1) * x_stride;
    vector elements[pixel_count + 2];
#pragma clang loop unroll(full)
    for (int pixel = 0; pixel < count + 2; pixel++)
      elements[pixel] = load(start + (size_t)pixel * x_stride);
#pragma clang loop unroll(full)
    for (int tap = 0; tap < 3; tap++) {
      vector factor = load(filter + (tap_row * 3 + (size_t)tap) * CK_WIDTH);
#pragma clang loop unroll(full)
      for (int pixel = 0; pixel < count; pixel++)
        sum[pixel] = fused(elements[pixel + tap], factor, sum[pixel]);
    }
  }
#pragma clang loop unroll(full)
  for (int pixel = 0; pixel < count; pixel++)
    store(
      y + (row * width + column + (size_t)pixel) * y_stride,
      finished(sum[pixel], epilogue, splat(0)));
}

// Computes one pixel at the left or right edge of the image.
static void depthwise_side(
  const float *filter, vector bias, size_t height, size_t width, size_t row, size_t column,
  const float *x, size_t x_stride, float *y, size_t y_stride, ck_epilogue epilogue) {
  vector sum = bias;
  for (size_t tap = 0; tap < 9; tap++) {
    size_t tap_row = row + tap / 3, tap_column = column + tap % 3;
    if (tap_row < 1 || tap_row > height || tap_column < 1 || tap_column > width) continue;
    const float *element = x + ((tap_row - 1) * width + tap_column - 1) * x_stride;
    sum = fused(load(element), load(filter + tap * CK_WIDTH), sum);
  }
  store(y + (row * width + column) * y_stride, finished(sum, epilogue, splat(0)));
}

// Processes CK_WIDTH channels of columns `first_column` to `end_column`.
CK_INLINE void depthwise_channels(
  const float *weight, const float *bias, size_t height, size_t width, size_t first_row,
  size_t rows, size_t first_column, size_t end_column, const float *x, size_t x_stride, float *y,
  size_t y_stride, ck_epilogue epilogue) {
  _Alignas(64) float filter[9 * CK_WIDTH];
  for (size_t channel = 0; channel < CK_WIDTH; channel++)
    for (size_t tap = 0; tap < 9; tap++) filter[tap * CK_WIDTH + channel] = weight[channel * 9 + tap];
  vector start = bias == NULL ? splat(0) : load(bias);
  size_t end = end_column < width ? end_column : width - 1;
  for (size_t row = first_row; row < first_row + rows; row++) {
    size_t column = first_column;
    if (column == 0) {
      depthwise_side(
        filter, start, height, width, row, 0, x, x_stride, y, y_stride, epilogue);
      column = 1;
    }
    for (; column + pixel_count <= end; column += pixel_count)
      depthwise_pixels(
        pixel_count, filter, start, height, width, row, column, x, x_stride, y, y_stride,
        epilogue);
    for (; column < end; column++)
      depthwise_pixels(
        1, filter, start, height, width, row, column, x, x_stride, y, y_stride, epilogue);
    if (end_column == width && width > 1)
      depthwise_side(
        filter, start, height, width, row, width - 1, x, x_stride, y, y_stride, epilogue);
  }
}

static void depthwise_convolution(
  const float *weight, const float *bias, size_t channels, size_t height, size_t width,
  size_t first_row, size_t rows, const float *x, size_t x_stride, float *y, size_t y_stride,
  ck_epilogue epilogue) {
  if (channels < CK_WIDTH || width == 0) {
    ck_scalar_kernels.depthwise_convolution(
      weight, bias, channels, height, width, first_row, rows, x, x_stride, y, y_stride, epilogue);
    return;
  }
  // All channels of a few columns stay in the near cache.
  enum { columns_at_once = 32 };
  for (size_t column = 0; column < width; column += columns_at_once) {
    size_t end = width - column < columns_at_once ? width : column + columns_at_once;
    for (size_t channel = 0; channel < channels; channel += CK_WIDTH) {
      // The last vector starts early and computes some channels again.
      size_t start = channel + CK_WIDTH <= channels ? channel : channels - CK_WIDTH;
      const float *some_bias = bias == NULL ? NULL : bias + start;
#define DEPTHWISE(epilogue) \
  depthwise_channels( \
    weight + start * 9, some_bias, height, width, first_row, rows, column, end, x + start, x_stride, \
    y + start, y_stride, epilogue)
      if (epilogue == CK_EPILOGUE_NONE)
        DEPTHWISE(CK_EPILOGUE_NONE);
      else
        DEPTHWISE(epilogue);
#undef DEPTHWISE
    }
  }
}
