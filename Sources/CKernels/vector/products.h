// Products with packed weights. Blocks of rows times groups of columns are accumulated in
// registers.

enum {
  // The rows of a full block and the vectors of a full group of columns: as many as fit in
  // registers.
  block_rows = 6,
  group_vectors = CK_WIDTH == 16 ? 4 : 2,
  // The number of rows for which one group of columns is computed before the next, so that a
  // group's weights stay in a near cache.
  batch_rows = 96,
};

// sums[row][vector] = bias + Σ over taps and inputs of sources[tap][row][input] · weights, in this
// order for every element, regardless of the sizes of block and group.
CK_INLINE void accumulate(
  int rows, int vectors, size_t taps, size_t inputs, const float *const *sources, size_t batch,
  const float *panel, size_t panel_stride, const float *bias, float *sums) {
  vector sum[block_rows][group_vectors];
  // Vectors narrower than a panel are adjacent in it.
  size_t step = CK_WIDTH < ck_panel_width ? CK_WIDTH : panel_stride;
#pragma clang loop unroll(full)
  for (int row = 0; row < rows; row++)
#pragma clang loop unroll(full)
    for (int index = 0; index < vectors; index++) sum[row][index] = load(bias + index * CK_WIDTH);
  for (size_t tap = 0; tap < taps; tap++) {
    const float *x[block_rows];
#pragma clang loop unroll(full)
    for (int row = 0; row < rows; row++) x[row] = sources[tap * batch + row];
    for (size_t input = 0; input < inputs; input++) {
      vector weights[group_vectors];
#pragma clang loop unroll(full)
      for (int index = 0; index < vectors; index++) weights[index] = load(panel + index * step);
#pragma clang loop unroll(full)
      for (int row = 0; row < rows; row++) {
        vector element = splat(x[row][input]);
#pragma clang loop unroll(full)
        for (int index = 0; index < vectors; index++)
          sum[row][index] = fused(element, weights[index], sum[row][index]);
      }
      panel += ck_panel_width;
    }
  }
#pragma clang loop unroll(full)
  for (int row = 0; row < rows; row++)
#pragma clang loop unroll(full)
    for (int index = 0; index < vectors; index++)
      store(sums + (row * group_vectors + index) * CK_WIDTH, sum[row][index]);
}

// Calls the instance of `accumulate` for a block of 6, 4, 2 or 1 rows.
CK_INLINE void accumulate_rows(
  int rows, int vectors, size_t taps, size_t inputs, const float *const *sources, size_t batch,
  const float *panel, size_t panel_stride, const float *bias, float *sums) {
  switch (rows) {
    case 6:
      accumulate(6, vectors, taps, inputs, sources, batch, panel, panel_stride, bias, sums);
      break;
    case 4:
      accumulate(4, vectors, taps, inputs, sources, batch, panel, panel_stride, bias, sums);
      break;
    case 2:
      accumulate(2, vectors, taps, inputs, sources, batch, panel, panel_stride, bias, sums);
      break;
    default:
      accumulate(1, vectors, taps, inputs, sources, batch, panel, panel_stride, bias, sums);
  }
}

// Calls the instance of `accumulate_rows` for the number of vectors.
static void accumulate_block(
  int rows, size_t vectors, size_t taps, size_t inputs, const float *const *sources, size_t batch,
  const float *panel, size_t panel_stride, const float *bias, float *sums) {
  switch (vectors) {
    case 1:
      accumulate_rows(rows, 1, taps, inputs, sources, batch, panel, panel_stride, bias, sums);
      break;
    case 2:
      accumulate_rows(rows, 2, taps, inputs, sources, batch, panel, panel_stride, bias, sums);
      break;
#if CK_WIDTH == 16
    case 3:
      accumulate_rows(rows, 3, taps, inputs, sources, batch, panel, panel_stride, bias, sums);
      break;
    default:
      accumulate_rows(rows, 4, taps, inputs, sources, batch, panel, panel_stride, bias, sums);
#endif
  }
}

CK_INLINE void store_block(
  size_t rows, const float *sums, size_t count, float *y, size_t y_stride, ck_epilogue epilogue,
  const float *residual, size_t residual_stride) {
  for (size_t row = 0; row < rows; row++)
    store_sums(
      sums + row * group_vectors * CK_WIDTH, count, y + row * y_stride, epilogue,
      residual == NULL ? NULL : residual + row * residual_stride);
}

// Multiplies up to `batch` rows, whose elements are at `sources` [taps, batch].
static void multiply_batch(
  const ck_weights *weights, size_t rows, const float *const *sources, size_t batch, float *y,
  size_t y_stride, ck_epilogue epilogue, const float *residual, size_t residual_stride) {
  enum { group_width = group_vectors * CK_WIDTH };
  _Alignas(64) float sums[block_rows * group_width];
  for (size_t column = 0; column < weights->outputs; column += group_width) {
    size_t count = weights->outputs - column;
    if (count > group_width) count = group_width;
    size_t vectors = (count + CK_WIDTH - 1) / CK_WIDTH;
    const float *panel = weights->panels +
      column / ck_panel_width * ck_panel_stride(weights) + column % ck_panel_width;
    for (size_t row = 0, step; row < rows; row += step) {
      size_t rest = rows - row;
      step = rest >= 6 ? 6 : rest >= 4 ? 4 : rest >= 2 ? 2 : 1;
      accumulate_block(
        (int)step, vectors, weights->taps, weights->inputs, sources + row, batch, panel,
        ck_panel_stride(weights), weights->bias + column, sums);
      float *target = y + row * y_stride + column;
      const float *other =
        epilogue == CK_EPILOGUE_ADD ? residual + row * residual_stride + column : NULL;
      switch (epilogue) {
        case CK_EPILOGUE_NONE:
          store_block(step, sums, count, target, y_stride, CK_EPILOGUE_NONE, NULL, 0);
          break;
        case CK_EPILOGUE_GELU:
          store_block(step, sums, count, target, y_stride, CK_EPILOGUE_GELU, NULL, 0);
          break;
        default:
          store_block(step, sums, count, target, y_stride, epilogue, other, residual_stride);
      }
    }
  }
}

static void linear(
  const ck_weights *weights, size_t rows, const float *x, size_t x_stride, float *y,
  size_t y_stride, ck_epilogue epilogue, const float *residual, size_t residual_stride) {
  const float *sources[batch_rows];
  for (size_t first = 0; first < rows; first += batch_rows) {
    size_t count = rows - first < batch_rows ? rows - first : batch_rows;
    for (size_t row = 0; row < count; row++) sources[row] = x + (first + row) * x_stride;
    multiply_batch(
      weights, count, sources, batch_rows, y + first * y_stride, y_stride, epilogue,
      residual == NULL ? NULL : residual + first * residual_stride, residual_stride);
  }
}

// Finds the pixels of one result under all taps.
//
// `lines` are the rows of the image under the kernel's rows; null for a row outside the image.
CK_INLINE void find_sources(
  const ck_weights *weights, const ck_convolution_shape *shape, size_t width, size_t column,
  const float *const *lines, size_t x_stride, size_t batch, const float **sources) {
  for (size_t tap_column = 0; tap_column < shape->kernel_width; tap_column++) {
    size_t place = column * shape->step + tap_column * shape->dilation;
    bool is_inside = ck_find_pixel(shape->padding, width, shape->padding_width, place, &place);
    const float **source = sources + tap_column * batch;
    for (size_t line = 0; line < shape->kernel_height; line++) {
      *source = is_inside && lines[line] != NULL ? lines[line] + place * x_stride : weights->zeros;
      source += shape->kernel_width * batch;
    }
  }
}

static void convolution(
  const ck_weights *weights, const ck_convolution_shape *shape, size_t height, size_t width,
  size_t first_row, size_t rows, const float *x, size_t x_stride, float *y, size_t y_stride,
  ck_epilogue epilogue, const float *residual, size_t residual_stride) {
  const float *sources[CK_CONVOLUTION_MOST_TAPS], *lines[CK_CONVOLUTION_MOST_TAPS];
  size_t batch = CK_CONVOLUTION_MOST_TAPS / weights->taps;
  if (batch > batch_rows) batch = batch_rows;
  size_t columns = ck_output_side(shape, width, shape->kernel_width, shape->padding_width);
  size_t row = first_row, column = 0;
  size_t end = (first_row + rows) * columns;
  for (size_t first = first_row * columns; first < end; first += batch) {
    size_t count = end - first < batch ? end - first : batch;
    for (size_t index = 0; index < count; index++) {
      if (index == 0 || column == 0)
        for (size_t line = 0; line < shape->kernel_height; line++) {
          size_t place = row * shape->step + line * shape->dilation;
          lines[line] =
            ck_find_pixel(shape->padding, height, shape->padding_height, place, &place)
            ? x + place * width * x_stride
            : NULL;
        }
      find_sources(weights, shape, width, column, lines, x_stride, batch, sources + index);
      if (++column == columns) {
        column = 0;
        row++;
      }
    }
    multiply_batch(
      weights, count, sources, batch, y + first * y_stride, y_stride, epilogue,
      residual == NULL ? NULL : residual + first * residual_stride, residual_stride);
  }
}
