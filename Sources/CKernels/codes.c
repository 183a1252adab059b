// Rows of codes, and what makes and takes them.

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "integer_weights.h"
#include "vector_levels.h"

// MARK: Rows of codes

size_t ck_code_stride(size_t columns) { return (columns + 15) / 16 * 16; }

size_t ck_code_byte_count(size_t rows, size_t columns) {
  return rows * ck_code_stride(columns) + 16;
}

void ck_code(
  const ck_quantizer *quantizer, float factor, size_t rows, size_t columns, const float *x,
  size_t x_stride, const ck_code_rows *y) {
  const ck_integer_table *kernels = ck_current_level()->integer;
  ck_quantizer scaled = *quantizer;
  scaled.lower /= factor;
  scaled.upper /= factor;
  float lower[ck_integer_most_rows], scale[ck_integer_most_rows], sums[ck_integer_most_rows];
  ck_coded_row coded[ck_integer_most_rows];
  for (size_t row = 0; row < ck_integer_most_rows; row++) {
    coded[row].lower = lower + row;
    coded[row].scale = scale + row;
  }
  for (size_t first = 0; first < rows; first += ck_integer_most_rows) {
    size_t count = rows - first < ck_integer_most_rows ? rows - first : ck_integer_most_rows;
    kernels->code(
      &scaled, columns, count, x + first * x_stride, x_stride, y->codes + first * y->stride,
      y->stride, coded, sums);
    for (size_t row = 0; row < count; row++) y->marks[first + row] += sums[row] * 0;
  }
}

void ck_integer_linear_apply_to_codes(
  const ck_integer_linear *linear, size_t rows, const ck_code_rows *x, float *y, size_t y_stride,
  ck_epilogue epilogue, const float *residual, size_t residual_stride) {
  const ck_integer_weights *weights = &linear->weights;
  const ck_integer_table *kernels = ck_current_level()->integer;
  float sums[ck_integer_most_rows];
  size_t batch = ck_integer_batch_rows(weights, x->stride, kernels->block_rows);
  for (size_t first = 0; first < rows; first += batch) {
    size_t count = rows - first < batch ? rows - first : batch;
    const uint8_t *codes = x->codes + first * x->stride;
    kernels->sum_codes(count, weights->inputs, codes, x->stride, x->marks + first, sums);
    ck_integer_patches patches = {codes, x->stride, 1, weights->steps, 0, sums};
    kernels->multiply_patches(
      weights, &linear->scaling, count, &patches, y + first * y_stride, y_stride, epilogue,
      residual == NULL ? NULL : residual + first * residual_stride, residual_stride);
  }
}

// MARK: Codes of outputs

// Factors up to this cannot make sums of products infinite.
static const float largest_factor = 1e25f;

static bool is_factor(float x) { return fabsf(x) <= largest_factor; }

static bool can_code(const ck_quantizer *quantizer) {
  return ck_has_equal_bounds(quantizer) && ck_has_levels(quantizer->levels, 255);
}

// Sets the coding of outputs from `first` on; returns whether it cannot overflow.
static bool fold_part(
  ck_output_coding *coding, const ck_integer_scaling *scaling, size_t first,
  const ck_output_part *part) {
  if (!can_code(&part->quantizer) || !(part->factor > 0)) return false;
  ck_row_coding bounds = ck_row_coding_of(&part->quantizer, 1);
  double scale = bounds.scale, lower = bounds.lower;
  bool has_function = coding->epilogue != CK_EPILOGUE_NONE;
  coding->is_coarse = part->quantizer.levels <= 15;
  coding->factor = (float)((double)part->factor / scale);
  coding->offset = (float)(-lower / scale);
  bool fits = is_factor(coding->factor) && is_factor(coding->offset);
  for (size_t output = first; output < first + part->columns; output++) {
    double factor = has_function ? 1 : (double)part->factor / scale;
    double offset = has_function ? 0 : -lower / scale;
    coding->scaling.offsets[output] = (float)((double)scaling->offsets[output] * factor + offset);
    coding->scaling.centers[output] = (float)((double)scaling->centers[output] * factor);
    coding->scaling.steps[output] = (float)((double)scaling->steps[output] * factor);
    coding->largest[output] = bounds.upper > bounds.lower ? part->quantizer.levels : 0;
    fits = fits && is_factor(coding->scaling.offsets[output]) &&
      is_factor(coding->scaling.centers[output]) && is_factor(coding->scaling.steps[output]);
  }
  return fits;
}

ck_output_coding *ck_output_coding_create(
  const ck_integer_linear *linear, ck_epilogue epilogue, const ck_output_part *parts,
  size_t part_count) {
  size_t outputs = linear->weights.outputs, columns = ck_integer_columns(&linear->weights);
  size_t coded = 0;
  for (size_t part = 0; part < part_count; part++) {
    if (parts[part].columns > outputs - coded) return NULL;
    coded += parts[part].columns;
  }
  if (linear->scaling.offsets == NULL || epilogue == CK_EPILOGUE_ADD || coded != outputs)
    return NULL;
  if (epilogue != CK_EPILOGUE_NONE && part_count != 1) return NULL;
  ck_output_coding *coding = calloc(1, sizeof *coding);
  if (coding == NULL) return NULL;
  coding->epilogue = epilogue;
  coding->scaling.offsets = calloc(columns + 1, 4 * sizeof(float));
  if (coding->scaling.offsets == NULL) {
    ck_output_coding_destroy(coding);
    return NULL;
  }
  coding->scaling.centers = coding->scaling.offsets + columns;
  coding->scaling.steps = coding->scaling.centers + columns;
  coding->largest = coding->scaling.steps + columns;
  size_t first = 0;
  for (size_t part = 0; part < part_count; first += parts[part].columns, part++)
    if (!fold_part(coding, &linear->scaling, first, parts + part)) {
      ck_output_coding_destroy(coding);
      return NULL;
    }
  return coding;
}

void ck_output_coding_destroy(ck_output_coding *coding) {
  if (coding == NULL) return;
  free(coding->scaling.offsets);
  free(coding);
}

void ck_integer_linear_code(
  const ck_integer_linear *linear, const ck_output_coding *coding, size_t rows, const float *x,
  size_t x_stride, const ck_code_rows *codes, const ck_code_rows *y) {
  const ck_integer_weights *weights = &linear->weights;
  const ck_integer_table *kernels = ck_current_level()->integer;
  _Alignas(64) uint8_t batch_codes[ck_integer_batch];
  float marks[ck_integer_most_rows], sums[ck_integer_most_rows];
  ck_code_rows coded = {batch_codes, ck_code_stride(weights->inputs), marks};
  size_t stride = codes == NULL ? coded.stride : codes->stride;
  size_t batch = ck_integer_batch_rows(weights, stride, kernels->block_rows);
  for (size_t first = 0; first < rows; first += batch) {
    size_t count = rows - first < batch ? rows - first : batch;
    ck_code_rows some = coded;
    if (codes == NULL) {
      memset(marks, 0, sizeof marks);
      ck_code(
        &weights->activations, 1, count, weights->inputs, x + first * x_stride, x_stride, &some);
    } else
      some = (ck_code_rows){codes->codes + first * stride, stride, codes->marks + first};
    kernels->sum_codes(count, weights->inputs, some.codes, stride, some.marks, sums);
    ck_integer_patches patches = {some.codes, stride, 1, weights->steps, 0, sums};
    kernels->multiply_to_codes(
      weights, coding, count, &patches, y->codes + first * y->stride, y->stride);
    for (size_t row = 0; row < count; row++) y->marks[first + row] = sums[row] * 0;
  }
}

// MARK: Codes of normalized rows

ck_coded_norm *ck_coded_norm_create(
  size_t columns, const float *gamma, const float *beta, float epsilon,
  const ck_quantizer *quantizer) {
  if (!can_code(quantizer)) return NULL;
  ck_row_coding bounds = ck_row_coding_of(quantizer, 1);
  ck_coded_norm *norm = calloc(1, sizeof *norm);
  if (norm == NULL) return NULL;
  *norm = (ck_coded_norm){
    columns, epsilon, bounds.upper > bounds.lower ? quantizer->levels : 0,
    calloc(columns + 1, 2 * sizeof(float)), NULL};
  bool fits = norm->factors != NULL;
  if (fits) norm->offsets = norm->factors + columns;
  for (size_t column = 0; fits && column < columns; column++) {
    double scale = bounds.scale;
    norm->factors[column] = (float)((double)gamma[column] / scale);
    norm->offsets[column] = (float)(((double)beta[column] - (double)bounds.lower) / scale);
    fits = is_factor(norm->factors[column]) && is_factor(norm->offsets[column]);
  }
  if (fits) return norm;
  ck_coded_norm_destroy(norm);
  return NULL;
}

void ck_coded_norm_destroy(ck_coded_norm *norm) {
  if (norm == NULL) return;
  free(norm->factors);
  free(norm);
}

void ck_coded_norm_apply(
  const ck_coded_norm *norm, size_t rows, const float *x, size_t x_stride,
  const ck_code_rows *y) {
  ck_current_level()->integer->normalize_to_codes(norm, rows, norm->columns, x, x_stride, y);
}
