// Winograd's convolution. Transforms work on vectors of channels. A few tiles at a time are
// transformed, multiplied and transformed back, so that a near cache holds them.

enum {
  // The tiles of a full block, which are rows of products. Each block reads all weights: where
  // vectors are wide, it needs more rows for as many products per weight and time.
  block_tiles = CK_WIDTH == 16 ? 2 * block_rows : block_rows,
  group_width = group_vectors * CK_WIDTH,
};

_Static_assert(
  block_tiles <= (int)ck_most_tiles && group_width <= (int)ck_most_outputs,
  "the scratch is too small");

// An image, of which some rows are cut into tiles in the order of reading.
typedef struct tiling {
  size_t height;
  size_t width;
  size_t first_row;
  size_t end_row;
  size_t tile_columns;
  size_t tile_count;
  const float *x;
  size_t x_stride;
  const float *zeros;
  float *y;
  size_t y_stride;
  // Room for the results of a pixel.
  float *sink;
} tiling;

// What is read and written for a tile. Outside the image, these are zeros and the sink.
typedef struct tile_places {
  const float *pixels[ck_patch_area];
  float *results[ck_tile_area];
} tile_places;

typedef struct tile_block {
  size_t count;
  tile_places tiles[block_tiles];
} tile_block;

static void find_tile(const tiling *image, size_t index, tile_places *tile) {
  size_t first_row = image->first_row + index / image->tile_columns * ck_tile_side;
  size_t first_column = index % image->tile_columns * ck_tile_side;
  for (size_t place = 0; place < ck_patch_area; place++) {
    // Offset by one, so that the unsigned index does not go below zero.
    size_t row = first_row + place / ck_patch_side, column = first_column + place % ck_patch_side;
    bool is_inside = row >= 1 && row <= image->height && column >= 1 && column <= image->width;
    tile->pixels[place] = is_inside
      ? image->x + ((row - 1) * image->width + column - 1) * image->x_stride
      : image->zeros;
  }
  for (size_t place = 0; place < ck_tile_area; place++) {
    size_t row = first_row + place / ck_tile_side, column = first_column + place % ck_tile_side;
    bool is_inside = row < image->end_row && column < image->width;
    tile->results[place] = is_inside
      ? image->y + (row * image->width + column) * image->y_stride
      : image->sink;
  }
}

// Finds the tiles from `first` on that are processed at once: full blocks, and then 4 or what is
// left, for which products have as many rows.
static void find_block(const tiling *image, size_t first, tile_block *block) {
  size_t rest = image->tile_count - first;
  block->count = rest <= 6 ? rest : rest <= 8 ? 4 : rest < block_tiles ? rest : block_tiles;
  for (size_t tile = 0; tile < block->count; tile++)
    find_tile(image, first + tile, block->tiles + tile);
}

// values = Bᵀ d, for one column or row of a patch.
CK_INLINE void transform_pixels(const vector *d, vector *values) {
  const vector a = splat(CK_POINT_A), b = splat(CK_POINT_B);
  vector even = fused(-b * b, d[2], d[4]), odd = fused(-b * b, d[1], d[3]);
  values[1] = fused(a, odd, even);
  values[2] = fused(-a, odd, even);
  even = fused(-a * a, d[2], d[4]), odd = fused(-a * a, d[1], d[3]);
  values[3] = fused(b, odd, even);
  values[4] = fused(-b, odd, even);
  values[0] = fused(a * a * b * b, d[0], fused(-a * a - b * b, d[2], d[4]));
  values[5] = fused(a * a * b * b, d[1], fused(-a * a - b * b, d[3], d[5]));
}

// results = Aᵀ m, for one column or row of sums.
CK_INLINE void transform_sums(const vector *m, vector *results) {
  const vector a = splat(CK_POINT_A), b = splat(CK_POINT_B);
  vector even_a = m[1] + m[2], odd_a = m[1] - m[2];
  vector even_b = m[3] + m[4], odd_b = m[3] - m[4];
  results[0] = m[0] + (even_a + even_b);
  results[1] = fused(a, odd_a, b * odd_b);
  results[2] = fused(a * a, even_a, b * b * even_b);
  results[3] = fused(a * a * a, odd_a, fused(b * b * b, odd_b, m[5]));
}

// Computes the values of `count` channels of a patch, at most CK_WIDTH, from `channel` on.
CK_INLINE void transform_patch(
  const float *const *pixels, size_t channel, size_t count, float *values, size_t stride) {
  vector lines[ck_patch_side][ck_patch_side];
  // Without the outer loops unrolled, fewer addresses are computed.
#pragma clang loop unroll(disable)
  for (size_t column = 0; column < ck_patch_side; column++) {
    vector d[ck_patch_side], transformed[ck_patch_side];
#pragma clang loop unroll(full)
    for (size_t row = 0; row < ck_patch_side; row++) {
      const float *start = pixels[row * ck_patch_side + column] + channel;
      d[row] = count == CK_WIDTH ? load(start) : load_first(start, count);
    }
    transform_pixels(d, transformed);
#pragma clang loop unroll(full)
    for (size_t row = 0; row < ck_patch_side; row++) lines[row][column] = transformed[row];
  }
#pragma clang loop unroll(disable)
  for (size_t row = 0; row < ck_patch_side; row++) {
    vector transformed[ck_patch_side];
    transform_pixels(lines[row], transformed);
#pragma clang loop unroll(full)
    for (size_t column = 0; column < ck_patch_side; column++)
      store(values + (row * ck_patch_side + column) * stride, transformed[column]);
  }
}

// Computes `count` channels of a tile's results, at most CK_WIDTH, from `channel` on.
CK_INLINE void transform_back(
  const float *sums, size_t stride, vector bias, float *const *results, size_t channel,
  size_t count) {
  vector lines[ck_tile_side][ck_patch_side];
#pragma clang loop unroll(disable)
  for (size_t column = 0; column < ck_patch_side; column++) {
    vector m[ck_patch_side], transformed[ck_tile_side];
#pragma clang loop unroll(full)
    for (size_t row = 0; row < ck_patch_side; row++)
      m[row] = load(sums + (row * ck_patch_side + column) * stride);
    transform_sums(m, transformed);
#pragma clang loop unroll(full)
    for (size_t row = 0; row < ck_tile_side; row++) lines[row][column] = transformed[row];
  }
#pragma clang loop unroll(disable)
  for (size_t row = 0; row < ck_tile_side; row++) {
    vector transformed[ck_tile_side];
    transform_sums(lines[row], transformed);
#pragma clang loop unroll(full)
    for (size_t column = 0; column < ck_tile_side; column++) {
      float *start = results[row * ck_tile_side + column] + channel;
      if (count == CK_WIDTH)
        store(start, transformed[column] + bias);
      else
        store_first(start, transformed[column] + bias, count);
    }
  }
}

// values = Bᵀ d B, [ck_patch_area, stride].
static void transform_tile(const tile_places *tile, size_t inputs, float *values) {
  size_t stride = ck_value_stride(inputs), channel = 0;
  for (; channel + CK_WIDTH <= inputs; channel += CK_WIDTH)
    transform_patch(tile->pixels, channel, CK_WIDTH, values + channel, stride);
  if (channel < inputs)
    transform_patch(tile->pixels, channel, inputs - channel, values + channel, stride);
}

// results = Aᵀ m A + bias. `sums` are those of this tile in the first group of outputs.
static void transform_tile_back(
  const tile_places *tile, const ck_weights *weights, const float *sums, size_t stride) {
  for (size_t channel = 0; channel < weights->outputs; channel += CK_WIDTH) {
    size_t count = weights->outputs - channel;
    const float *start =
      sums + channel / group_width * block_tiles * group_width + channel % group_width;
    vector bias = load(weights->bias + channel);
    if (count >= CK_WIDTH)
      transform_back(start, stride, bias, tile->results, channel, CK_WIDTH);
    else
      transform_back(start, stride, bias, tile->results, channel, count);
  }
}

CK_INLINE void prefetch(const float *x, size_t count) {
  for (size_t index = 0; index < count; index += 16) __builtin_prefetch(x + index);
}

// Fetches pixels of some of the next tiles, and memory for results of these.
static void prefetch_tiles(
  const ck_weights *weights, const tile_block *block, const tile_block *next, size_t first,
  size_t end, size_t place) {
  for (size_t tile = first; tile < end && tile < next->count; tile++)
    prefetch(next->tiles[tile].pixels[place], weights->inputs);
  if (place >= ck_tile_area) return;
  for (size_t tile = first; tile < end && tile < block->count; tile++)
    prefetch(block->tiles[tile].results[place], weights->outputs);
}

// Multiplies the values of a block: sums [place, group, tile, output] =
// Σ over inputs of values [tile, place, input] · weights [place, input, output].
//
// Meanwhile what is needed afterwards arrives from far memory: little at a time, since products
// wait for their weights while much is on its way.
static void multiply_block(
  const ck_weights *weights, const tile_block *block, const tile_block *next, const float *values,
  float *sums) {
  static const float zeros[group_width];
  size_t stride = ck_value_stride(weights->inputs);
  size_t group_count = (weights->outputs + group_width - 1) / group_width;
  size_t share = (block_tiles + group_count - 1) / group_count;
  for (size_t place = 0; place < ck_patch_area; place++) {
    const float *sources[block_tiles];
    // Rows without a tile repeat another one.
    for (size_t tile = 0; tile < block_tiles; tile++)
      sources[tile] = values + ((tile < block->count ? tile : 0) * ck_patch_area + place) * stride;
    for (size_t group = 0; group < group_count; group++) {
      prefetch_tiles(weights, block, next, group * share, (group + 1) * share, place);
      size_t column = group * group_width, rest = weights->outputs - column;
      size_t vectors = rest < group_width ? (rest + CK_WIDTH - 1) / CK_WIDTH : group_vectors;
      const float *panel = weights->panels + place * weights->inputs * ck_panel_width +
        column / ck_panel_width * ck_panel_stride(weights) + column % ck_panel_width;
      for (size_t row = 0, step; row < block->count; row += step) {
        // Fewer rows would take as long.
        step = block->count - row > 4 ? 6 : 4;
        accumulate_block(
          (int)step, vectors, 1, weights->inputs, sources + row, block_tiles, panel,
          ck_panel_stride(weights), zeros,
          sums + ((place * group_count + group) * block_tiles + row) * group_width);
      }
    }
  }
}

static void filter_values(size_t inputs, const float *filters, float *values) {
  ck_filter_values(inputs, filters, values);
}

static void winograd(
  const ck_weights *weights, size_t height, size_t width, size_t first_row, size_t rows,
  const float *x, size_t x_stride, float *y, size_t y_stride, float *scratch) {
  size_t group_count = (weights->outputs + group_width - 1) / group_width;
  size_t value_count = ck_patch_area * ck_value_stride(weights->inputs);
  size_t sum_stride = group_count * block_tiles * group_width;
  float *values = ck_line_start(scratch), *sums = values + block_tiles * value_count;
  size_t tile_rows = (rows + ck_tile_side - 1) / ck_tile_side;
  size_t tile_columns = (width + ck_tile_side - 1) / ck_tile_side;
  tiling image = {
    height, width, first_row, first_row + rows, tile_columns, tile_rows * tile_columns, x, x_stride,
    weights->zeros, y, y_stride, sums + ck_patch_area * sum_stride};
  tile_block blocks[2];
  size_t first = 0;
  find_block(&image, 0, &blocks[0]);
  for (size_t index = 0; first < image.tile_count; index = 1 - index) {
    tile_block *block = &blocks[index], *next = &blocks[1 - index];
    first += block->count;
    find_block(&image, first, next);
    for (size_t tile = 0; tile < block->count; tile++)
      transform_tile(block->tiles + tile, weights->inputs, values + tile * value_count);
    multiply_block(weights, block, next, values, sums);
    for (size_t tile = 0; tile < block->count; tile++)
      transform_tile_back(block->tiles + tile, weights, sums + tile * group_width, sum_stride);
  }
}
