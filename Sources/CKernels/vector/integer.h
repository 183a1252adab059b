// Integer linear layers: rows are coded, then blocks of their codes are multiplied.

#include "../integer_weights.h"
#include "run_codings.h"
#include "moments.h"

// Returns the codes of values in steps.
CK_INLINE int_vector codes_of(vector steps, vector largest) {
  return rounded(smaller(larger(steps, splat(0)), largest));
}

// Returns the sum of `count` codes, which are followed by 15 bytes.
CK_INLINE int sum_of_codes(const uint8_t *codes, size_t count) {
  static const uint8_t masks[32] = {
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
  const __m128i mask = _mm_loadu_si128((const __m128i *)(masks + (16 - count % 16) % 16));
  size_t last = (count - 1) / 16 * 16;
  __m128i some = _mm_and_si128(mask, _mm_loadu_si128((const __m128i *)(codes + last)));
  __m128i sum = _mm_sad_epu8(some, _mm_setzero_si128());
  for (size_t index = 0; index < last; index += 16)
    sum = _mm_add_epi64(
      sum, _mm_sad_epu8(_mm_loadu_si128((const __m128i *)(codes + index)), _mm_setzero_si128()));
  return _mm_cvtsi128_si32(_mm_add_epi64(sum, _mm_unpackhi_epi64(sum, sum)));
}

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
  float reciprocal = reciprocal_of(coding.scale), offset = coding.lower * (float)columns;
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

typedef struct coding_rows {
  const float *x;
  size_t x_stride;
  uint8_t *codes;
  size_t stride;
  ck_coded_row *coded;
  size_t group_size;
} coding_rows;

// Codes a run of values. Runs are coded in order, so that each overwrites the padding of the previous one.
CK_INLINE void code_of_run(
  void *work, ck_row_coding coding, float reciprocal, size_t row, size_t column, size_t count) {
  const coding_rows *rows = work;
  float sum = code_run(
    coding, reciprocal, rows->x + row * rows->x_stride + column, count,
    rows->codes + row * rows->stride + column);
  add_to_row(
    rows->coded + row, rows->group_size == 0 ? 0 : column / rows->group_size, coding, count, sum);
}

// Adds the products of `steps` steps of four codes: those of `rows` rows, `stride` bytes apart, whose
// steps are `step` bytes apart, and those of a panel, whose steps are `panel_step` bytes apart and each
// have vectors `vector_step` bytes apart.
CK_INLINE void add_some_quads(
  int rows, int vectors, code_part part, size_t steps, size_t safe_steps, const uint8_t *codes,
  size_t stride, size_t step, const int8_t *panel, size_t panel_step, size_t vector_step,
  int_vector sums[][integer_group_vectors]) {
  for (size_t first = 0; first < steps; first += safe_steps) {
    size_t end = steps - first < safe_steps ? steps : first + safe_steps;
    code_products some[integer_block_rows][integer_group_vectors];
#pragma clang loop unroll(full)
    for (int row = 0; row < rows; row++)
#pragma clang loop unroll(full)
      for (int index = 0; index < vectors; index++) some[row][index] = no_products();
    for (size_t quad = first; quad < end; quad++, codes += step, panel += panel_step) {
      code_products columns[integer_group_vectors];
#pragma clang loop unroll(full)
      for (int index = 0; index < vectors; index++)
        columns[index] = load_codes(panel + (size_t)index * vector_step);
#pragma clang loop unroll(full)
      for (int row = 0; row < rows; row++) {
        code_products elements = four_codes(codes + (size_t)row * stride, part);
#pragma clang loop unroll(full)
        for (int index = 0; index < vectors; index++)
          some[row][index] = add_quads(some[row][index], elements, columns[index]);
      }
    }
#pragma clang loop unroll(full)
    for (int row = 0; row < rows; row++)
#pragma clang loop unroll(full)
      for (int index = 0; index < vectors; index++)
        sums[row][index] += sums_of_quads(some[row][index], part);
  }
}

// The products of some rows with all columns, and what becomes of them.
typedef struct row_products {
  const ck_integer_weights *weights;
  ck_integer_patches patches;
  // Of rows whose bounds follow their values; NULL for equal bounds.
  const ck_coded_row *coded;
  // Of rows with equal bounds.
  const ck_integer_scaling *scaling;
  ck_epilogue epilogue;
  float *y;
  size_t y_stride;
  // Rows to add; NULL for none.
  const float *residual;
  size_t residual_stride;
  // The coding of the results, which are stored as codes then.
  const ck_output_coding *coding;
  uint8_t *codes;
  size_t code_stride;
} row_products;

// Adds the products of `steps` steps from step `first` of a run of the weights' codes on, for `vectors`
// vectors of columns from `column` on.
CK_INLINE void add_products(
  int rows, int vectors, const row_products *products, size_t row, size_t column, size_t run,
  size_t first, size_t steps, int_vector sums[][integer_group_vectors]) {
  const ck_integer_weights *weights = products->weights;
  const ck_integer_patches *patches = &products->patches;
  const uint8_t *codes =
    patches->codes + row * patches->stride + run * patches->distance + first * ck_integer_step;
  size_t panel_bytes = ck_integer_panel_width * ck_integer_step;
  const int8_t *panel = weights->panels +
    (column / ck_integer_panel_width * weights->steps + run * patches->run_steps + first) *
      panel_bytes +
    column % ck_integer_panel_width * ck_integer_step;
  // A vector is half a panel, or a panel.
  size_t vector_step =
    CK_WIDTH < ck_integer_panel_width ? CK_WIDTH * ck_integer_step : weights->steps * panel_bytes;
#define ADD(part, safe_steps) \
  add_some_quads( \
    rows, vectors, part, steps, safe_steps, codes, patches->stride, ck_integer_step, panel, \
    panel_bytes, vector_step, sums)
  if (has_any_sums || weights->safe_steps > 0) {
    ADD(code_whole, has_any_sums ? SIZE_MAX : weights->safe_steps);
  } else {
    ADD(code_low_half, safe_half_steps);
    ADD(code_high_half, safe_half_steps);
  }
#undef ADD
}

CK_INLINE void clear_sums(int rows, int vectors, int_vector sums[][integer_group_vectors]) {
#pragma clang loop unroll(full)
  for (int row = 0; row < rows; row++)
#pragma clang loop unroll(full)
    for (int index = 0; index < vectors; index++) sums[row][index] = (int_vector)0;
}

// Applies the epilogue to a vector of a row's outputs from `column` on, and stores it.
CK_INLINE void store_finished(
  vector value, const row_products *products, ck_epilogue epilogue, size_t row, size_t column) {
  vector added = splat(0);
  size_t rest = products->weights->outputs - column;
  const float *residual = epilogue == CK_EPILOGUE_ADD
    ? products->residual + row * products->residual_stride + column
    : NULL;
  float *target = products->y + row * products->y_stride + column;
  if (rest >= CK_WIDTH) {
    if (residual != NULL) added = load(residual);
    store(target, finished(value, epilogue, added));
  } else {
    if (residual != NULL) added = load_first(residual, rest);
    store_first(target, finished(value, epilogue, added), rest);
  }
}

// Returns the products of a group of a row with its scale and with its lower bound.
CK_INLINE vector scaled_products(
  const ck_integer_weights *weights, size_t group, const ck_coded_row *row, size_t column,
  int_vector products) {
  vector offset =
    splat(row->lower[group]) * load(weights->totals + group * ck_integer_columns(weights) + column);
  return fused(splat(row->scale[group]), __builtin_convertvector(products, vector), offset);
}

// Computes a block of results of rows whose bounds follow their values.
CK_INLINE void finish_groups(
  int rows, int vectors, bool has_groups, ck_epilogue epilogue, const row_products *products,
  size_t row, size_t column) {
  const ck_integer_weights *weights = products->weights;
  const ck_coded_row *coded = products->coded + row;
  size_t group_steps = has_groups ? ck_quads_of(weights->group_inputs) : weights->steps;
  int_vector sums[integer_block_rows][integer_group_vectors];
  vector scaled[integer_block_rows][integer_group_vectors];
  for (size_t group = 0, first = 0; group < weights->groups; group++, first += group_steps) {
    size_t rest = weights->steps - first;
    clear_sums(rows, vectors, sums);
    add_products(
      rows, vectors, products, row, column, 0, first, rest < group_steps ? rest : group_steps,
      sums);
#pragma clang loop unroll(full)
    for (int index = 0; index < rows; index++)
#pragma clang loop unroll(full)
      for (int part = 0; part < vectors; part++) {
        vector some = scaled_products(
          weights, group, coded + index, column + (size_t)part * CK_WIDTH, sums[index][part]);
        scaled[index][part] = group == 0 ? some : some + scaled[index][part];
      }
  }
  for (int index = 0; index < rows; index++)
    for (int part = 0; part < vectors; part++) {
      size_t place = column + (size_t)part * CK_WIDTH;
      vector value = fused(
        load(weights->centers + place), splat((float)coded[index].sum),
        load(weights->biases + place));
      value = fused(load(weights->scales + place), scaled[index][part], value);
      store_finished(value, products, epilogue, row + (size_t)index, place);
    }
}

// Returns the values in steps of a code's function.
CK_INLINE vector steps_of(
  vector value, ck_epilogue epilogue, bool is_coarse, const ck_output_coding *coding) {
  if (epilogue == CK_EPILOGUE_NONE) return value;
  if (epilogue == CK_EPILOGUE_GELU && is_coarse)
    value = coarse_gelu_of(value);
  else
    value = finished(value, epilogue, splat(0));
  return fused(value, splat(coding->factor), splat(coding->offset));
}

// Stores vectors of a row's outputs from `column` on.
CK_INLINE void store_row(
  int vectors, const vector *values, ck_epilogue epilogue, const row_products *products,
  size_t row, size_t column) {
#pragma clang loop unroll(full)
  for (int part = 0; part < vectors; part++)
    store_finished(
      values[part], products, epilogue, row, column + (size_t)part * CK_WIDTH);
}

// Returns the codes of vectors of a row's outputs from `column` on.
CK_INLINE void code_row_of(
  int vectors, const vector *values, ck_epilogue epilogue, bool is_coarse,
  const row_products *products,
  size_t column, int_vector *codes) {
  const ck_output_coding *coding = products->coding;
#pragma clang loop unroll(full)
  for (int part = 0; part < vectors; part++)
    codes[part] = codes_of(
      steps_of(values[part], epilogue, is_coarse, coding),
      load(coding->largest + column + (size_t)part * CK_WIDTH));
}

// Computes a block of results of rows with equal bounds.
CK_INLINE void finish_equal(
  int rows, int vectors, ck_epilogue epilogue, bool is_coded, bool is_coarse,
  const row_products *products, size_t row, size_t column) {
  const ck_integer_patches *patches = &products->patches;
  const ck_integer_scaling *scaling = products->scaling;
  int_vector sums[integer_block_rows][integer_group_vectors];
  clear_sums(rows, vectors, sums);
  for (size_t run = 0; run < patches->runs; run++)
    add_products(
      rows, vectors, products, row, column, run, 0, patches->run_steps, sums);
  vector values[integer_block_rows][integer_group_vectors];
#pragma clang loop unroll(full)
  for (int part = 0; part < vectors; part++) {
    size_t place = column + (size_t)part * CK_WIDTH;
    vector centers = load(scaling->centers + place), offsets = load(scaling->offsets + place);
    vector steps = load(scaling->steps + place);
#pragma clang loop unroll(full)
    for (int index = 0; index < rows; index++) {
      vector value = fused(centers, splat(patches->sums[row + (size_t)index]), offsets);
      values[index][part] =
        fused(steps, __builtin_convertvector(sums[index][part], vector), value);
    }
  }
  // A function's code is long; the others' is shorter than the loop.
  int_vector codes[integer_block_rows][integer_group_vectors];
#define FOR_EACH_ROW \
  for (int index = 0; index < rows; index++) \
    if (is_coded) \
      code_row_of( \
        vectors, values[index], epilogue, is_coarse, products, column, codes[index]); \
    else \
      store_row(vectors, values[index], epilogue, products, row + (size_t)index, column);
  if (epilogue == CK_EPILOGUE_NONE) {
#pragma clang loop unroll(full)
    FOR_EACH_ROW
  } else {
#pragma clang loop unroll(disable)
    FOR_EACH_ROW
  }
#undef FOR_EACH_ROW
  if (is_coded)
    store_code_rows(
      rows, vectors, codes, products->codes + row * products->code_stride + column,
      products->code_stride);
}

typedef void block_function(
  int rows, int vectors, const row_products *products, size_t row, size_t column);

// Calls a function for each block of rows and columns.
CK_INLINE void for_each_block(
  const row_products *products, size_t rows, block_function *function) {
  size_t outputs = products->weights->outputs;
  for (size_t column = 0; column < outputs; column += integer_group_vectors * CK_WIDTH) {
    size_t vectors = (outputs - column + CK_WIDTH - 1) / CK_WIDTH, row = 0;
    if (vectors > integer_group_vectors) vectors = integer_group_vectors;
    for (; row + integer_block_rows <= rows; row += integer_block_rows)
      switch (vectors) {
        case 1: function(integer_block_rows, 1, products, row, column); break;
        case 2: function(integer_block_rows, 2, products, row, column); break;
#if CK_WIDTH == 16
        case 3: function(integer_block_rows, 3, products, row, column); break;
        default: function(integer_block_rows, 4, products, row, column);
#endif
      }
    for (; row < rows; row++)
      for (size_t index = 0; index < vectors; index++)
        function(1, 1, products, row, column + index * CK_WIDTH);
  }
}

// Defines a function of blocks, `name`, by a call.
#define CK_BLOCK_FUNCTION(name, call) \
  CK_INLINE void name( \
    int rows, int vectors, const row_products *products, size_t row, size_t column) { \
    call; \
  }

CK_BLOCK_FUNCTION(
  finish_one_group,
  finish_groups(rows, vectors, false, CK_EPILOGUE_NONE, products, row, column))
CK_BLOCK_FUNCTION(
  finish_many_groups,
  finish_groups(rows, vectors, true, CK_EPILOGUE_NONE, products, row, column))
CK_BLOCK_FUNCTION(
  finish_groups_then,
  finish_groups(
    rows, vectors, products->weights->groups > 1, products->epilogue, products, row, column))
CK_BLOCK_FUNCTION(
  finish_values, finish_equal(rows, vectors, CK_EPILOGUE_NONE, false, false, products, row, column))
CK_BLOCK_FUNCTION(
  finish_values_then,
  finish_equal(rows, vectors, products->epilogue, false, false, products, row, column))
CK_BLOCK_FUNCTION(
  finish_codes, finish_equal(rows, vectors, CK_EPILOGUE_NONE, true, false, products, row, column))
CK_BLOCK_FUNCTION(
  finish_codes_of_gelu,
  finish_equal(rows, vectors, CK_EPILOGUE_GELU, true, true, products, row, column))
CK_BLOCK_FUNCTION(
  finish_codes_then,
  finish_equal(rows, vectors, products->coding->epilogue, true, false, products, row, column))

static void code_rows(
  const ck_quantizer *activations, size_t columns, size_t rows, const float *x, size_t x_stride,
  uint8_t *codes, size_t stride, ck_coded_row *coded, float *sums) {
  coding_rows work = {x, x_stride, codes, stride, coded, activations->group_size};
  if (ck_has_equal_bounds(activations)) {
    ck_row_coding coding = ck_row_coding_of(activations, 1);
    if (!code_equally(
          coding, columns, rows, x, x_stride, codes, stride, coded, sums))
      return;
    // One by one, so that NaN stays in its row.
    for (size_t row = 0; row < rows; row++) {
      coded[row].sum = 0;
      code_of_run(&work, coding, reciprocal_of(coding.scale), row, 0, columns);
    }
  } else {
    for (size_t row = 0; row < rows; row++) coded[row].sum = 0;
    for_each_run(true, activations, x, rows, columns, x_stride, code_of_run, &work);
  }
  for (size_t row = 0; sums != NULL && row < rows; row++) {
    float sum = 0;
    for (size_t index = 0; index < columns; index++) sum += codes[row * stride + index];
    sums[row] = isnan(coded[row].sum) ? NAN : sum;
  }
}

static void multiply_rows(
  const ck_integer_weights *weights, size_t rows, const uint8_t *codes, size_t stride,
  const ck_coded_row *coded, float *y, size_t y_stride, ck_epilogue epilogue,
  const float *residual, size_t residual_stride) {
  row_products products = {
    .weights = weights, .patches = {codes, stride, 1, weights->steps, 0, NULL}, .coded = coded,
    .epilogue = epilogue, .y = y, .y_stride = y_stride, .residual = residual,
    .residual_stride = residual_stride};
  if (epilogue != CK_EPILOGUE_NONE)
    for_each_block(&products, rows, finish_groups_then);
  else if (weights->groups > 1)
    for_each_block(&products, rows, finish_many_groups);
  else
    for_each_block(&products, rows, finish_one_group);
}

static void multiply_patches(
  const ck_integer_weights *weights, const ck_integer_scaling *scaling, size_t rows,
  const ck_integer_patches *patches, float *y, size_t y_stride, ck_epilogue epilogue,
  const float *residual, size_t residual_stride) {
  row_products products = {
    .weights = weights, .patches = *patches, .scaling = scaling, .epilogue = epilogue, .y = y,
    .y_stride = y_stride, .residual = residual, .residual_stride = residual_stride};
  if (epilogue == CK_EPILOGUE_NONE)
    for_each_block(&products, rows, finish_values);
  else
    for_each_block(&products, rows, finish_values_then);
}

static void multiply_to_codes(
  const ck_integer_weights *weights, const ck_output_coding *coding, size_t rows,
  const ck_integer_patches *patches, uint8_t *codes, size_t stride) {
  row_products products = {
    .weights = weights, .patches = *patches, .scaling = &coding->scaling, .coding = coding,
    .codes = codes, .code_stride = stride};
  if (coding->epilogue == CK_EPILOGUE_NONE)
    for_each_block(&products, rows, finish_codes);
  else if (coding->epilogue == CK_EPILOGUE_GELU && coding->is_coarse)
    for_each_block(&products, rows, finish_codes_of_gelu);
  else
    for_each_block(&products, rows, finish_codes_then);
}

static void sum_codes(
  size_t rows, size_t columns, const uint8_t *codes, size_t stride, const float *marks,
  float *sums) {
  for (size_t row = 0; row < rows; row++)
    sums[row] = marks[row] + (float)sum_of_codes(codes + row * stride, columns);
}

static void normalize_to_codes(
  const ck_coded_norm *norm, size_t rows, size_t columns, const float *x, size_t x_stride,
  const ck_code_rows *y) {
  size_t whole = columns / CK_WIDTH * CK_WIDTH, rest = columns - whole;
  const vector largest = splat(norm->largest);
  for (size_t row = 0; row < rows; row++, x += x_stride) {
    ck_moments moments = moments_of(x, columns, norm->epsilon);
    vector mean = splat(moments.mean), factor = splat(moments.factor);
    uint8_t *codes = y->codes + row * y->stride;
    for (size_t column = 0; column < whole; column += CK_WIDTH) {
      vector value = (load(x + column) - mean) * factor;
      value = fused(value, load(norm->factors + column), load(norm->offsets + column));
      store_codes(codes + column, codes_of(value, largest));
    }
    if (rest != 0) {
      vector value = (load_first(x + whole, rest) - mean) * factor;
      value = fused(
        value, load_first(norm->factors + whole, rest), load_first(norm->offsets + whole, rest));
      store_codes(codes + whole, codes_of(value, largest));
    }
    // A sum that overflows has a factor of zero.
    y->marks[row] = moments.factor * 0 + moments.mean * 0;
  }
}

#include "integer_attention.h"

const ck_integer_table CK_INTEGER_TABLE = {
  integer_block_rows, code_rows,         multiply_rows,    multiply_patches,
  multiply_to_codes,  sum_codes,         normalize_to_codes, integer_attention,
};
