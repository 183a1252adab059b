// The weights of integer linear layers in the kernels' layout.

#ifndef CK_INTEGER_WEIGHTS_H
#define CK_INTEGER_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel_table.h"
#include "row_coding.h"

enum {
  ck_integer_panel_width = 16,
  // The number of inputs whose code products are summed by one instruction.
  ck_integer_step = 4,
  // The size in bytes of the codes of rows that are processed at once.
  ck_integer_batch = 32768,
  // The largest number of rows that are processed at once.
  ck_integer_most_rows = 96,
  // The most bytes that are written after the codes of a row.
  ck_integer_slack = 15,
  // The largest number of groups in an input row.
  ck_integer_most_groups = 1024,
};

// Inputs are divided into groups that share a lower bound l and a scale s: the quantizer's groups,
// or all inputs of a row. With the weight codes c − 2^(bits − 1), which are signed and nearly
// centred,
//
//     y[o] = biases[o] + centers[o] · Σ (l n + s Σ cx)
//       + scales[o] · Σ (l · totals[group, o] + s Σ cx cw)
//
// where the outer sums run over groups and the inner ones over the n inputs of each.
typedef struct ck_integer_weights {
  size_t outputs;
  size_t inputs;
  // The number of steps of `ck_integer_step` inputs, the last one padded with zeros.
  size_t steps;
  size_t groups;
  // The number of inputs per group; the last group may have fewer. Each step lies in one group.
  size_t group_inputs;
  // [panel, step, ck_integer_panel_width, ck_integer_step]
  int8_t *panels;
  // Each is [panel, ck_integer_panel_width]; `biases` owns the allocation.
  float *biases;
  // The centres and scales of the weights' ranges.
  float *centers;
  float *scales;
  // [group, panel, ck_integer_panel_width]: Σ cw.
  float *totals;
  // The quantizer that codes the inputs.
  ck_quantizer activations;
  // The number of sums of two code products that cannot overflow 16 bits; may be 0.
  size_t safe_steps;
} ck_integer_weights;

// Returns the number of steps of `ck_integer_step` codes.
static inline size_t ck_quads_of(size_t count) {
  return (count + ck_integer_step - 1) / ck_integer_step;
}

// Returns the number of outputs including padding, which is the distance between two groups'
// totals.
static inline size_t ck_integer_columns(const ck_integer_weights *weights) {
  return (size_t)(weights->centers - weights->biases);
}

// What the codes of a row of inputs stand for.
typedef struct ck_coded_row {
  // The sum of the values, or NaN if one is NaN.
  double sum;
  // One per group.
  float *lower;
  float *scale;
} ck_coded_row;

// Rows that lie in one another: a row is runs of codes, `distance` bytes apart, as the pixels under a
// kernel are runs of an image's rows.
typedef struct ck_integer_patches {
  const uint8_t *codes;
  // The bytes from a row to the next.
  size_t stride;
  size_t runs;
  // The steps of `ck_integer_step` codes in a run.
  size_t run_steps;
  size_t distance;
  // The sum of each row's codes, or NaN if it has an element that is NaN.
  const float *sums;
} ck_integer_patches;

// What the products of rows with equal bounds become: offsets + centers · Σ cx + steps · Σ cx cw, for
// each output. `offsets` owns the allocation; NULL where bounds follow the values.
typedef struct ck_integer_scaling {
  float *offsets;
  float *centers;
  float *steps;
} ck_integer_scaling;

// Computes the scaling of rows of `count` elements, besides those that fill up the weights; returns
// whether there was memory.
bool ck_integer_scaling_create(
  const ck_integer_weights *weights, const ck_quantizer *activations, size_t count,
  ck_integer_scaling *scaling);

// The coding of a layer's outputs: round(clip(value · factor + offset, 0, largest)), where value is
// what the products become. Without a function, their scaling is by factors and offsets already.
struct ck_output_coding {
  ck_epilogue epilogue;
  // Whether there are so few codes that an approximated function serves.
  bool is_coarse;
  ck_integer_scaling scaling;
  // One per output.
  float *largest;
  float factor;
  float offset;
};

// A layer normalization and the coding of its results: round(clip((x − mean) / √(variance + epsilon) ·
// factors + offsets, 0, largest)).
struct ck_coded_norm {
  size_t columns;
  float epsilon;
  float largest;
  // One per column; `factors` owns the allocation.
  float *factors;
  float *offsets;
};

// What the sums of products of an attention become.
typedef struct ck_attention_scaling {
  // A score is score_step · Σ cq ck + key_step · Σ ck + bias, where cq are the queries' codes less
  // `query_center`. What is the same for all keys is left out.
  int query_center;
  float score_step;
  float key_step;
  // A probability's code is round(clip(p · probability_factor + probability_offset, 0,
  // probability_largest)).
  bool is_row_scaled;
  float probability_factor;
  float probability_offset;
  float probability_largest;
  // A result is value_step · Σ cp cv + code_step · Σ cp + total_step · Σ cv + constant, divided, where
  // rows are scaled, by the sum of the exponentials, or where they are normalized by that of the
  // probabilities, sum_step · Σ cp + sum_constant.
  bool is_divided;
  bool is_normalized;
  float sum_step;
  float sum_constant;
  float value_step;
  float code_step;
  float total_step;
  float constant;
  // What is added after the division.
  float offset;
  // The largest code of a result; negative if results are not coded.
  float largest;
} ck_attention_scaling;

// Where an attention's results go: values if `scaling.largest` is negative, or else codes.
typedef struct ck_attention_target {
  float *values;
  size_t value_stride;
  ck_code_rows codes;
} ck_attention_target;

struct ck_integer_linear {
  ck_integer_weights weights;
  ck_integer_scaling scaling;
};

// The kernels of a vector level.
typedef struct ck_integer_table {
  // The number of rows that are multiplied at once.
  size_t block_rows;
  // Codes rows of `columns` elements. The codes of a row are `stride` bytes from those of the next
  // one, and followed by up to ck_integer_slack undefined bytes, which the next row overwrites. `sums`
  // becomes the sum of each row's codes, as in ck_integer_patches; NULL for none.
  void (*code)(
    const ck_quantizer *activations, size_t columns, size_t rows, const float *x, size_t x_stride,
    uint8_t *codes, size_t stride, ck_coded_row *coded, float *sums);
  // Multiplies coded rows and applies the epilogue.
  void (*multiply)(
    const ck_integer_weights *weights, size_t rows, const uint8_t *codes, size_t stride,
    const ck_coded_row *coded, float *y, size_t y_stride, ck_epilogue epilogue,
    const float *residual, size_t residual_stride);
  // Multiplies rows of one group with equal bounds.
  void (*multiply_patches)(
    const ck_integer_weights *weights, const ck_integer_scaling *scaling, size_t rows,
    const ck_integer_patches *patches, float *y, size_t y_stride, ck_epilogue epilogue,
    const float *residual, size_t residual_stride);
  // Codes the outputs of rows whose codes are given, with their sums.
  void (*multiply_to_codes)(
    const ck_integer_weights *weights, const ck_output_coding *coding, size_t rows,
    const ck_integer_patches *patches, uint8_t *codes, size_t stride);
  // sums[row] = marks[row] + Σ codes.
  void (*sum_codes)(
    size_t rows, size_t columns, const uint8_t *codes, size_t stride, const float *marks,
    float *sums);
  void (*normalize_to_codes)(
    const ck_coded_norm *norm, size_t rows, size_t columns, const float *x, size_t x_stride,
    const ck_code_rows *y);
  void (*attention)(
    const ck_integer_attention *attention, const ck_attention_scaling *scaling, const uint8_t *q,
    const uint8_t *k, const uint8_t *v, size_t stride, const float *bias, const float *mask,
    const ck_attention_target *target, float *scratch);
} ck_integer_table;

extern const ck_integer_table ck_integer_scalar;
extern const ck_integer_table ck_integer_256;
// Requires AVX-512 VNNI as well.
extern const ck_integer_table ck_integer_512;

// Returns how many rows, whose codes are `stride` bytes apart, are processed at once.
static inline size_t ck_integer_batch_rows(
  const ck_integer_weights *weights, size_t stride, size_t block_rows) {
  size_t batch = ck_integer_batch / stride;
  if (batch > ck_integer_most_rows) batch = ck_integer_most_rows;
  if (batch > ck_integer_most_groups / weights->groups)
    batch = ck_integer_most_groups / weights->groups;
  // Rows left over from full blocks are processed one by one.
  return batch > block_rows ? batch - batch % block_rows : batch;
}

#endif
