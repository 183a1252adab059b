// The kernels of learning that have a version for each vector level.

#ifndef CK_DERIVATIVES_TABLE_H
#define CK_DERIVATIVES_TABLE_H

#include "include/derivatives.h"

// What a row's gradient by its bounds is made of.
typedef struct ck_bound_sums {
  // Σ g over elements at the lower bound or below it.
  double low;
  // Σ g over elements at the upper bound or above it.
  double high;
  // Σ g · (round(t) − t) over the others.
  double inner;
} ck_bound_sums;

typedef struct ck_derivative_table {
  void (*gelu_and_slope)(float *x, float *y, size_t count);
  void (*biased_softmax)(
    float *x, const float *bias, const float *mask, size_t rows, size_t columns);
  void (*softmax_gradient)(const float *p, float *g, size_t rows, size_t columns, float *sum);
  // One row with these bounds, which do not depend on it, and a scale above zero: g becomes the gradient
  // by x.
  ck_bound_sums (*row_gradient)(
    const float *x, float factor, size_t columns, float lower, float upper, float scale, float *g);
  void (*depthwise_weight_gradient)(
    size_t channels, size_t height, size_t width, const float *x, const float *g, float *sum);
} ck_derivative_table;

// The functions of these names in the file that says so, as a table.
#define CK_DERIVATIVE_TABLE \
  { \
    .gelu_and_slope = gelu_and_slope, \
    .biased_softmax = biased_softmax, \
    .softmax_gradient = softmax_gradient, \
    .row_gradient = row_gradient, \
    .depthwise_weight_gradient = depthwise_weight_gradient, \
  }

extern const ck_derivative_table ck_scalar_derivatives;
extern const ck_derivative_table ck_derivatives_128;
extern const ck_derivative_table ck_derivatives_256;
extern const ck_derivative_table ck_derivatives_512;

#endif
