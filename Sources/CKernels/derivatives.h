// The kernels of learning that have a version for each vector level.

#ifndef CK_DERIVATIVES_TABLE_H
#define CK_DERIVATIVES_TABLE_H

#include "include/derivatives.h"

typedef struct ck_derivative_table {
  void (*gelu_and_slope)(float *x, float *y, size_t count);
  void (*biased_softmax)(
    float *x, const float *bias, const float *mask, size_t rows, size_t columns);
  void (*softmax_gradient)(const float *p, float *g, size_t rows, size_t columns, float *sum);
  void (*quantize_gradient)(
    const ck_quantizer *quantizer, const float *x, float factor, size_t rows, size_t columns,
    size_t stride, float *g, ck_bound_gradient *sum);
  void (*depthwise_weight_gradient)(
    size_t channels, size_t height, size_t width, const float *x, const float *g, float *sum);
} ck_derivative_table;

// The functions of these names in the file that says so, as a table.
#define CK_DERIVATIVE_TABLE \
  { \
    .gelu_and_slope = gelu_and_slope, \
    .biased_softmax = biased_softmax, \
    .softmax_gradient = softmax_gradient, \
    .quantize_gradient = quantize_gradient, \
    .depthwise_weight_gradient = depthwise_weight_gradient, \
  }

extern const ck_derivative_table ck_scalar_derivatives;
extern const ck_derivative_table ck_derivatives_128;
extern const ck_derivative_table ck_derivatives_256;
extern const ck_derivative_table ck_derivatives_512;

// What a row's gradient by its bounds is made of.
typedef struct ck_bound_sums {
  // Σ g over elements at the lower bound or below it.
  double low;
  // Σ g over elements at the upper bound or above it.
  double high;
  // Σ g · (round(t) − t) over the others.
  double inner;
} ck_bound_sums;

// The gradients by the bounds of one row, added `magnitude` times to `sum`.
//
// Returns the gradient by the magnitude.
static inline double ck_add_bound_sums(
  const ck_quantizer *quantizer, ck_bound_sums row, float magnitude, ck_bound_gradient *sum) {
  double lower = row.low - row.inner / (double)quantizer->levels;
  double upper = row.high + row.inner / (double)quantizer->levels;
  sum->lower += (double)magnitude * lower;
  sum->upper += (double)magnitude * upper;
  return (double)quantizer->lower * lower + (double)quantizer->upper * upper;
}

// Gives the largest element, at `place`, the gradient by the row's magnitude.
static inline void ck_lead_to_largest(
  const ck_quantizer *quantizer, const float *x, float factor, size_t columns, size_t place,
  double by_magnitude, float *g) {
  float magnitude = (x[place] < 0 ? -x[place] : x[place]) * factor;
  const float bounds[] = {quantizer->lower * magnitude, quantizer->upper * magnitude};
  for (size_t bound = 0; bound < 2; bound++)
    if (bounds[bound] == magnitude || bounds[bound] == -magnitude)
      for (size_t column = 0; column < columns; column++)
        if (x[column] * factor == bounds[bound]) g[column] = 0;
  float gradient = (float)by_magnitude * factor;
  g[place] += x[place] < 0 ? -gradient : gradient;
}

#endif
