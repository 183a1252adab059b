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
};

// With the weight codes c − 2^(bits − 1), so that they are signed and nearly centred:
// y[o] = m · (constants[o] + sum_factors[o] · Σ cx + factors[o] · Σ cx cw) + biases[o],
// where m is the row's magnitude, or 1 with the biases among the constants.
typedef struct ck_integer_weights {
  size_t outputs;
  size_t inputs;
  // Groups of `ck_integer_step` inputs, the last one filled up with zeros.
  size_t steps;
  // [panel, step, ck_integer_panel_width, ck_integer_step]
  int8_t *panels;
  // Four times [panel, ck_integer_panel_width]; the first one is what was allocated.
  float *constants;
  float *sum_factors;
  float *factors;
  float *biases;
  // For coding inputs.
  ck_quantizer activations;
  // How many sums of two products of codes add up in 16 bits for certain; may be none.
  size_t safe_steps;
} ck_integer_weights;

// Codes `rows` rows, multiplies and finishes them.
typedef void ck_integer_kernel(
  const ck_integer_weights *weights, size_t rows, const float *x, size_t x_stride, float *y,
  size_t y_stride, ck_epilogue epilogue, const float *residual, size_t residual_stride);

ck_integer_kernel ck_integer_linear_scalar;
ck_integer_kernel ck_integer_linear_256;
// Needs AVX-512 VNNI as well.
ck_integer_kernel ck_integer_linear_512;

#endif
