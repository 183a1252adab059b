// Integer linear layers: rows are coded, then blocks of their codes are multiplied.

#include "../integer_weights.h"
#include "group_codings.h"

// Codes `count` elements and pads them with zeros to a whole vector. Returns the sum of the codes,
// or NaN if an element is NaN.
CK_INLINE float code_run(
  ck_row_coding coding, float reciprocal, const float *x, size_t count, uint8_t *codes) {
  int_vector sum = (int_vector)0, nans = (int_vector)0;
  for (size_t index = 0; index < count; index += CK_WIDTH) {
    size_t rest = count - index;
    vector elements = rest < CK_WIDTH ? load_first(x + index, rest) : load(x + index);
    vector shifted = shifted_codes(elements, coding, reciprocal);
    nans |= shifted != shifted;
    int_vector some = __builtin_bit_cast(int_vector, shifted) & 255;
    if (rest < CK_WIDTH) some &= places_before(rest);
    sum += some;
    store_codes(codes + index, some);
  }
  return is_any(nans) ? NAN : sum_of(__builtin_convertvector(sum, vector));
}

// Records the coding of a group of `count` inputs and the sum of their codes.
CK_INLINE void add_to_row(
  ck_coded_row *row, size_t group, ck_row_coding coding, size_t count, float code_sum) {
  row->sum = (float)row->sum + (coding.lower * (float)count + coding.scale * code_sum);
  row->lower[group] = coding.lower;
  row->scale[group] = coding.scale;
}

// Codes rows within bounds that are the same for all elements; returns whether one of them is NaN.
CK_INLINE bool code_equally(
  ck_row_coding coding, size_t columns, size_t rows, const float *x, size_t x_stride,
  uint8_t *codes, size_t stride, ck_coded_row *coded, float *sums) {
  float reciprocal = 1 / coding.scale, offset = coding.lower * (float)columns;
  size_t whole = columns / CK_WIDTH * CK_WIDTH, rest = columns - whole;
  int_vector nans = (int_vector)0, kept = places_before(rest);
  for (size_t row = 0; row < rows; row++, x += x_stride, codes += stride) {
    int_vector sum = (int_vector)0;
    for (size_t index = 0; index < whole; index += CK_WIDTH) {
      vector shifted = shifted_codes(load(x + index), coding, reciprocal);
      nans |= shifted != shifted;
      int_vector some = __builtin_bit_cast(int_vector, shifted) & 255;
      sum += some;
      store_codes(codes + index, some);
    }
    if (rest != 0) {
      vector shifted = shifted_codes(load_first(x + whole, rest), coding, reciprocal);
      nans |= kept & (shifted != shifted);
      int_vector some = __builtin_bit_cast(int_vector, shifted) & 255 & kept;
      sum += some;
      store_codes(codes + whole, some);
    }
    float code_sum = sum_of(__builtin_convertvector(sum, vector));
    if (sums != NULL) sums[row] = code_sum;
    coded[row].sum = offset + coding.scale * code_sum;
    *coded[row].lower = coding.lower;
    *coded[row].scale = coding.scale;
  }
  return is_any(nans);
}

// Codes a row. Groups are written in order, so that each overwrites the padding of the previous
// one.
CK_INLINE void code_row(
  const ck_quantizer *activations, const float *x, size_t inputs, uint8_t *codes,
  ck_coded_row *row) {
  row->sum = 0;
  if (activations->group_size == 0) {
    ck_row_coding coding = ck_row_coding_of(
      activations, activations->is_row_scaled ? largest_magnitude(x, inputs) : 1);
    float sum = code_run(coding, 1 / coding.scale, x, inputs, codes);
    return add_to_row(row, 0, coding, inputs, sum);
  }
  group_codings codings;
  for (size_t first = 0, group = 0; first < inputs;) {
    size_t groups = find_codings(activations, x + first, inputs - first, &codings);
    for (size_t index = 0; index < groups; index++, group++) {
      size_t count = ck_group_length(inputs - first, activations->group_size);
      ck_row_coding coding = coding_at(&codings, index);
      float sum = code_run(coding, codings.reciprocal[index], x + first, count, codes + first);
      add_to_row(row, group, coding, count, sum);
      first += count;
    }
  }
}

// The rows and columns that are processed at once.
typedef struct integer_block {
  size_t rows;
  size_t column;
  size_t count;
  _Alignas(64) int32_t products[integer_block_rows * integer_group_width];
  // Σ over the groups so far of lower bounds times totals plus scales times products.
  _Alignas(64) float scaled[integer_block_rows * integer_group_width];
} integer_block;

// Makes `column` the first of the block's columns; returns how many panels these have.
CK_INLINE size_t begin_columns(
  const ck_integer_weights *weights, size_t column, integer_block *block) {
  size_t count = weights->outputs - column;
  block->column = column;
  block->count = count < integer_group_width ? count : integer_group_width;
  return (block->count + ck_integer_panel_width - 1) / ck_integer_panel_width;
}

// Returns CK_WIDTH scaled products of a group, ready to be added.
CK_INLINE vector scaled_products(
  const ck_integer_weights *weights, size_t group, const ck_coded_row *row, size_t column,
  const int32_t *products) {
  int_vector product;
  memcpy(&product, products, sizeof product);
  vector offset =
    splat(row->lower[group]) * load(weights->totals + group * ck_integer_columns(weights) + column);
  return fused(splat(row->scale[group]), __builtin_convertvector(product, vector), offset);
}

// Adds the products of any group but the last one.
CK_INLINE void add_group(
  const ck_integer_weights *weights, size_t group, const ck_coded_row *rows, integer_block *block) {
  for (size_t row = 0; row < block->rows; row++)
    for (size_t index = 0; index < block->count; index += CK_WIDTH) {
      size_t place = row * integer_group_width + index;
      vector some = scaled_products(
        weights, group, rows + row, block->column + index, block->products + place);
      if (group > 0) some += load(block->scaled + place);
      store(block->scaled + place, some);
    }
}

// Applies the epilogue to a vector of outputs, of which `rest` are left, and stores it.
//
// `residual`: what is added; NULL for nothing.
CK_INLINE void store_finished(
  vector value, size_t rest, float *target, ck_epilogue epilogue, const float *residual) {
  vector added = splat(0);
  if (rest >= CK_WIDTH) {
    if (residual != NULL) added = load(residual);
    store(target, finished(value, epilogue, added));
  } else {
    if (residual != NULL) added = load_first(residual, rest);
    store_first(target, finished(value, epilogue, added), rest);
  }
}

// Adds the products of the last group, scales the sums of a block and stores them.
//
// `has_groups`: whether there is more than one group.
CK_INLINE void finish_block(
  const ck_integer_weights *weights, bool has_groups, const ck_coded_row *rows,
  const integer_block *block, float *y, size_t y_stride, ck_epilogue epilogue,
  const float *residual, size_t residual_stride) {
  size_t last = has_groups ? weights->groups - 1 : 0;
  for (size_t row = 0; row < block->rows; row++)
    for (size_t index = 0; index < block->count; index += CK_WIDTH) {
      size_t place = row * integer_group_width + index, column = block->column + index;
      vector scaled =
        scaled_products(weights, last, rows + row, column, block->products + place);
      if (has_groups) scaled += load(block->scaled + place);
      vector value = fused(
        load(weights->centers + column), splat((float)rows[row].sum), load(weights->biases + column));
      value = fused(load(weights->scales + column), scaled, value);
      store_finished(
        value, block->count - index, y + row * y_stride + column, epilogue,
        epilogue == CK_EPILOGUE_ADD ? residual + row * residual_stride + column : NULL);
    }
}

// Multiplies all columns of some rows.
CK_INLINE void multiply_codes(
  const ck_integer_weights *weights, bool has_groups, size_t rows, const uint8_t *codes,
  size_t stride, const ck_coded_row *coded, float *y, size_t y_stride, ck_epilogue epilogue, const float *residual,
  size_t residual_stride) {
  size_t steps = weights->steps;
  size_t group_steps = (weights->group_inputs + ck_integer_step - 1) / ck_integer_step;
  integer_block block;
  for (size_t column = 0; column < weights->outputs; column += integer_group_width) {
    size_t panels = begin_columns(weights, column, &block);
    for (size_t row = 0; row < rows; row += block.rows) {
      block.rows = rows - row >= integer_block_rows ? integer_block_rows : 1;
      int block_rows = block.rows == 1 ? 1 : integer_block_rows;
      size_t panel = column / ck_integer_panel_width, first = 0;
      for (size_t group = 0; has_groups && group + 1 < weights->groups; group++) {
        multiply_block(
          weights, block_rows, panels, panel, first, first + group_steps, codes + row * stride,
          stride, block.products);
        add_group(weights, group, coded + row, &block);
        first += group_steps;
      }
      multiply_block(
        weights, block_rows, panels, panel, first, steps, codes + row * stride, stride,
        block.products);
      finish_block(
        weights, has_groups, coded + row, &block, y + row * y_stride, y_stride, epilogue,
        residual == NULL ? NULL : residual + row * residual_stride, residual_stride);
    }
  }
}

static void code_rows(
  const ck_quantizer *activations, size_t columns, size_t rows, const float *x, size_t x_stride,
  uint8_t *codes, size_t stride, ck_coded_row *coded, float *sums) {
  if (activations->group_size == 0 && !activations->is_row_scaled) {
    ck_row_coding coding = ck_row_coding_of(activations, 1);
    if (!code_equally(
          coding, columns, rows, x, x_stride, codes, stride, coded, sums))
      return;
  }
  // One by one, so that NaN stays in its row.
  for (size_t row = 0; row < rows; row++) {
    code_row(activations, x + row * x_stride, columns, codes + row * stride, coded + row);
    if (sums == NULL) continue;
    float sum = 0;
    for (size_t index = 0; index < columns; index++) sum += codes[row * stride + index];
    sums[row] = isnan(coded[row].sum) ? NAN : sum;
  }
}

static void multiply_rows(
  const ck_integer_weights *weights, size_t rows, const uint8_t *codes, size_t stride,
  const ck_coded_row *coded, float *y, size_t y_stride, ck_epilogue epilogue,
  const float *residual, size_t residual_stride) {
  bool has_groups = weights->groups > 1;
  switch (epilogue) {
    case CK_EPILOGUE_NONE:
      if (has_groups)
        multiply_codes(
          weights, true, rows, codes, stride, coded, y, y_stride, CK_EPILOGUE_NONE, NULL, 0);
      else
        multiply_codes(
          weights, false, rows, codes, stride, coded, y, y_stride, CK_EPILOGUE_NONE, NULL, 0);
      break;
    case CK_EPILOGUE_GELU:
      multiply_codes(
        weights, has_groups, rows, codes, stride, coded, y, y_stride, CK_EPILOGUE_GELU, NULL, 0);
      break;
    default:
      multiply_codes(
        weights, has_groups, rows, codes, stride, coded, y, y_stride, epilogue, residual,
        residual_stride);
  }
}

// Scales the products of a block and stores them.
CK_INLINE void finish_patches(
  const ck_integer_scaling *scaling, const float *sums, const integer_block *block, float *y,
  size_t y_stride, ck_epilogue epilogue, const float *residual, size_t residual_stride) {
  for (size_t row = 0; row < block->rows; row++)
    for (size_t index = 0; index < block->count; index += CK_WIDTH) {
      size_t place = row * integer_group_width + index, column = block->column + index;
      int_vector product;
      memcpy(&product, block->products + place, sizeof product);
      vector value = fused(
        load(scaling->centers + column), splat(sums[row]), load(scaling->offsets + column));
      value = fused(
        load(scaling->steps + column), __builtin_convertvector(product, vector), value);
      store_finished(
        value, block->count - index, y + row * y_stride + column, epilogue,
        epilogue == CK_EPILOGUE_ADD ? residual + row * residual_stride + column : NULL);
    }
}

CK_INLINE void multiply_all_patches(
  const ck_integer_weights *weights, const ck_integer_scaling *scaling, size_t rows,
  const ck_integer_patches *patches, float *y, size_t y_stride, ck_epilogue epilogue,
  const float *residual, size_t residual_stride) {
  integer_block block;
  for (size_t column = 0; column < weights->outputs; column += integer_group_width) {
    size_t panels = begin_columns(weights, column, &block);
    for (size_t row = 0; row < rows; row += block.rows) {
      block.rows = rows - row >= integer_block_rows ? integer_block_rows : 1;
      multiply_runs(
        weights, block.rows == 1 ? 1 : integer_block_rows, panels,
        column / ck_integer_panel_width, patches, row, block.products);
      finish_patches(
        scaling, patches->sums + row, &block, y + row * y_stride, y_stride, epilogue,
        residual == NULL ? NULL : residual + row * residual_stride, residual_stride);
    }
  }
}

static void multiply_patches(
  const ck_integer_weights *weights, const ck_integer_scaling *scaling, size_t rows,
  const ck_integer_patches *patches, float *y, size_t y_stride, ck_epilogue epilogue,
  const float *residual, size_t residual_stride) {
  switch (epilogue) {
    case CK_EPILOGUE_NONE:
      multiply_all_patches(
        weights, scaling, rows, patches, y, y_stride, CK_EPILOGUE_NONE, NULL, 0);
      break;
    case CK_EPILOGUE_GELU:
      multiply_all_patches(
        weights, scaling, rows, patches, y, y_stride, CK_EPILOGUE_GELU, NULL, 0);
      break;
    default:
      multiply_all_patches(
        weights, scaling, rows, patches, y, y_stride, epilogue, residual, residual_stride);
  }
}

const ck_integer_table CK_INTEGER_TABLE = {
  integer_block_rows, code_rows, multiply_rows, multiply_patches};
