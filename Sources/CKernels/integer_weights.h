// Weights of linear layers over whole numbers as the kernels read them.

#ifndef CK_INTEGER_WEIGHTS_H
#define CK_INTEGER_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

#include "row_coding.h"

enum {
  ck_integer_panel_width = 16,
  // Inputs whose products with codes one instruction sums up.
  ck_integer_step = 4,
  // Bytes of the codes of the rows that are worked on at once.
  ck_integer_batch = 32768,
  // Groups that an input's row may have.
  ck_integer_most_groups = 1024,
};

// Inputs lie in groups that share a lower bound l and a scale s: those of the quantizer, or all inputs
// of a row. With the weight codes c − 2^(bits − 1), so that they are signed and nearly centred,
//
//     y[o] = biases[o] + centers[o] · Σ (l n + s Σ cx) + scales[o] · Σ (l · totals[group, o] + s Σ cx cw)
//
// where the outer sums are over the groups, the inner ones over the n inputs of each.
typedef struct ck_integer_weights {
  size_t outputs;
  size_t inputs;
  // `ck_integer_step` inputs each, the last one filled up with zeros.
  size_t steps;
  size_t groups;
  // Of a group, but the last one may have fewer. A step lies in one group.
  size_t group_inputs;
  // [panel, step, ck_integer_panel_width, ck_integer_step]
  int8_t *panels;
  // Each [panel, ck_integer_panel_width]; the first one is what was allocated.
  float *biases;
  // Of the weights' ranges.
  float *centers;
  float *scales;
  // [group, panel, ck_integer_panel_width]: Σ cw.
  float *totals;
  // For coding inputs.
  ck_quantizer activations;
  // How many sums of two products of codes add up in 16 bits for certain; may be none.
  size_t safe_steps;
} ck_integer_weights;

// Outputs with those that fill up the last panel: what lies between two groups' totals.
static inline size_t ck_integer_columns(const ck_integer_weights *weights) {
  return (size_t)(weights->centers - weights->biases);
}

// Codes `rows` rows, multiplies and finishes them.
typedef void ck_integer_kernel(
  const ck_integer_weights *weights, size_t rows, const float *x, size_t x_stride, float *y,
  size_t y_stride, ck_epilogue epilogue, const float *residual, size_t residual_stride);

ck_integer_kernel ck_integer_linear_scalar;
ck_integer_kernel ck_integer_linear_256;
// Needs AVX-512 VNNI as well.
ck_integer_kernel ck_integer_linear_512;

#endif
