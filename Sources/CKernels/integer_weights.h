// The weights of integer linear layers in the kernels' layout.

#ifndef CK_INTEGER_WEIGHTS_H
#define CK_INTEGER_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

#include "row_coding.h"

enum {
  ck_integer_panel_width = 16,
  // The number of inputs whose code products are summed by one instruction.
  ck_integer_step = 4,
  // The size in bytes of the codes of rows that are processed at once.
  ck_integer_batch = 32768,
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

// Returns the number of outputs including padding, which is the distance between two groups'
// totals.
static inline size_t ck_integer_columns(const ck_integer_weights *weights) {
  return (size_t)(weights->centers - weights->biases);
}

// Codes `rows` rows, multiplies them and applies the epilogue.
typedef void ck_integer_kernel(
  const ck_integer_weights *weights, size_t rows, const float *x, size_t x_stride, float *y,
  size_t y_stride, ck_epilogue epilogue, const float *residual, size_t residual_stride);

ck_integer_kernel ck_integer_linear_scalar;
ck_integer_kernel ck_integer_linear_256;
// Requires AVX-512 VNNI as well.
ck_integer_kernel ck_integer_linear_512;

#endif
