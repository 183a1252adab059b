// Linear layers over whole numbers: rows are coded, then blocks of their codes multiplied.

#include "../integer_weights.h"

// Codes `count` elements and fills up with zeros to a whole vector; returns the sum of the codes, or
// NaN when there is a NaN.
CK_INLINE float code_run(ck_row_coding coding, const float *x, size_t count, uint8_t *codes) {
  float reciprocal = 1 / coding.scale;
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

// What is known of a row beside its codes.
typedef struct coded_row {
  // Σ over the groups of their scale times the sum of their codes.
  float sum;
  // One a group.
  float *lower;
  float *scale;
} coded_row;

// Codes a row; groups are written in order, so that the zeros after one are overwritten by the next.
CK_INLINE void code_row(
  const ck_integer_weights *weights, const float *x, uint8_t *codes, coded_row *row) {
  const ck_quantizer *activations = &weights->activations;
  row->sum = 0;
  for (size_t group = 0; group < weights->groups; group++) {
    size_t first = group * weights->group_inputs, rest = weights->inputs - first;
    size_t count = rest < weights->group_inputs ? rest : weights->group_inputs;
    ck_row_coding coding =
      activations->group_size != 0
        ? ck_group_coding_of(activations, range_of(x + first, count))
        : ck_row_coding_of(
            activations, activations->is_row_scaled ? largest_magnitude(x, count) : 1);
    row->sum += coding.scale * code_run(coding, x + first, count, codes + first);
    row->lower[group] = coding.lower;
    row->scale[group] = coding.scale;
  }
}

// Bytes from one row of codes to the next one: a vector may be stored at the end.
CK_INLINE size_t code_stride(const ck_integer_weights *weights) {
  return (weights->inputs + CK_WIDTH - 1) / CK_WIDTH * CK_WIDTH + CK_WIDTH;
}

// Rows and columns that are worked on at once, and what is known of them so far.
typedef struct integer_block {
  size_t rows;
  size_t column;
  size_t count;
  _Alignas(64) int32_t products[integer_block_rows * integer_group_width];
  // Σ over the groups of their lower bounds times totals, and of their scales times products.
  _Alignas(64) float offsets[integer_block_rows * integer_group_width];
  _Alignas(64) float scaled[integer_block_rows * integer_group_width];
} integer_block;

// Adds the products of a group, which are in the block.
CK_INLINE void add_group(
  const ck_integer_weights *weights, size_t group, const coded_row *rows, integer_block *block) {
  const float *totals =
    weights->totals + group * (size_t)(weights->centers - weights->biases) + block->column;
  for (size_t row = 0; row < block->rows; row++) {
    vector lower = splat(rows[row].lower[group]), scale = splat(rows[row].scale[group]);
    for (size_t index = 0; index < block->count; index += CK_WIDTH) {
      size_t place = row * integer_group_width + index;
      int_vector product;
      memcpy(&product, block->products + place, sizeof product);
      vector offset = group == 0 ? splat(0) : load(block->offsets + place);
      vector scaled = group == 0 ? splat(0) : load(block->scaled + place);
      store(block->offsets + place, fused(lower, load(totals + index), offset));
      store(
        block->scaled + place, fused(scale, __builtin_convertvector(product, vector), scaled));
    }
  }
}

// Scales the sums of a block and stores them.
CK_INLINE void finish_block(
  const ck_integer_weights *weights, const coded_row *rows, const integer_block *block, float *y,
  size_t y_stride, ck_epilogue epilogue, const float *residual, size_t residual_stride) {
  size_t column = block->column;
  for (size_t row = 0; row < block->rows; row++)
    for (size_t index = 0; index < block->count; index += CK_WIDTH) {
      size_t place = row * integer_group_width + index;
      vector value = load(block->offsets + place) + load(weights->biases + column + index);
      value = fused(load(weights->centers + column + index), splat(rows[row].sum), value);
      value = fused(load(weights->scales + column + index), load(block->scaled + place), value);
      float *target = y + row * y_stride + column + index;
      const float *other =
        epilogue == CK_EPILOGUE_ADD ? residual + row * residual_stride + column + index : NULL;
      size_t rest = block->count - index;
      vector added = splat(0);
      if (rest >= CK_WIDTH) {
        if (other != NULL) added = load(other);
        store(target, finished(value, epilogue, added));
      } else {
        if (other != NULL) added = load_first(other, rest);
        store_first(target, finished(value, epilogue, added), rest);
      }
    }
}

// All columns of as many rows as there is room for.
CK_INLINE void multiply_codes(
  const ck_integer_weights *weights, size_t rows, const uint8_t *codes, const coded_row *coded,
  float *y, size_t y_stride, ck_epilogue epilogue, const float *residual,
  size_t residual_stride) {
  size_t group_steps = (weights->group_inputs + ck_integer_step - 1) / ck_integer_step;
  integer_block block;
  for (size_t column = 0; column < weights->outputs; column += integer_group_width) {
    size_t count = weights->outputs - column;
    if (count > integer_group_width) count = integer_group_width;
    size_t panels = (count + ck_integer_panel_width - 1) / ck_integer_panel_width;
    block.column = column;
    block.count = count;
    for (size_t row = 0; row < rows; row += block.rows) {
      block.rows = rows - row >= integer_block_rows ? integer_block_rows : 1;
      for (size_t group = 0; group < weights->groups; group++) {
        size_t first = group * group_steps, end = first + group_steps;
        multiply_block(
          weights, block.rows == 1 ? 1 : integer_block_rows, panels,
          column / ck_integer_panel_width, first, end < weights->steps ? end : weights->steps,
          codes + row * code_stride(weights), code_stride(weights), block.products);
        add_group(weights, group, coded + row, &block);
      }
      finish_block(
        weights, coded + row, &block, y + row * y_stride, y_stride, epilogue,
        residual == NULL ? NULL : residual + row * residual_stride, residual_stride);
    }
  }
}

void CK_INTEGER_KERNEL(
  const ck_integer_weights *weights, size_t rows, const float *x, size_t x_stride, float *y,
  size_t y_stride, ck_epilogue epilogue, const float *residual, size_t residual_stride) {
  enum { most_rows = 96 };
  _Alignas(64) uint8_t codes[ck_integer_batch];
  float lower[ck_integer_most_groups], scale[ck_integer_most_groups];
  coded_row coded[most_rows];
  size_t stride = code_stride(weights), batch = ck_integer_batch / stride;
  if (batch > most_rows) batch = most_rows;
  if (batch > ck_integer_most_groups / weights->groups)
    batch = ck_integer_most_groups / weights->groups;
  for (size_t first = 0; first < rows; first += batch) {
    size_t count = rows - first < batch ? rows - first : batch;
    for (size_t row = 0; row < count; row++) {
      coded[row].lower = lower + row * weights->groups;
      coded[row].scale = scale + row * weights->groups;
      code_row(weights, x + (first + row) * x_stride, codes + row * stride, &coded[row]);
    }
    float *target = y + first * y_stride;
    const float *other = residual == NULL ? NULL : residual + first * residual_stride;
    switch (epilogue) {
      case CK_EPILOGUE_NONE:
        multiply_codes(
          weights, count, codes, coded, target, y_stride, CK_EPILOGUE_NONE, NULL, 0);
        break;
      case CK_EPILOGUE_GELU:
        multiply_codes(
          weights, count, codes, coded, target, y_stride, CK_EPILOGUE_GELU, NULL, 0);
        break;
      default:
        multiply_codes(
          weights, count, codes, coded, target, y_stride, epilogue, other, residual_stride);
    }
  }
}
