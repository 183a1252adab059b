// The training kernels that have a version for each vector level.

#ifndef CK_DERIVATIVES_TABLE_H
#define CK_DERIVATIVES_TABLE_H

#include "include/derivatives.h"

// The sums that make up the gradient with respect to a row's bounds.
typedef struct ck_bound_sums {
  // Σ g over elements at or below the lower bound.
  double low;
  // Σ g over elements at or above the upper bound.
  double high;
  // Σ g · (round(t) − t) over the other elements.
  double inner;
} ck_bound_sums;

typedef struct ck_derivative_table {
  void (*gelu_and_slope)(float *x, float *y, size_t count);
  void (*biased_softmax)(
    float *x, const float *bias, const float *mask, size_t rows, size_t columns);
  void (*softmax_gradient)(const float *p, float *g, size_t rows, size_t columns, float *sum);
  // Processes one row with fixed bounds and a positive scale: g becomes the gradient with respect
  // to x.
  ck_bound_sums (*row_gradient)(
    const float *x, float factor, size_t columns, float lower, float upper, float scale, float *g);
  void (*depthwise_weight_gradient)(
    size_t channels, size_t height, size_t width, const float *x, const float *g, float *sum);
} ck_derivative_table;

// A table of the functions with these names in the including file.
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
