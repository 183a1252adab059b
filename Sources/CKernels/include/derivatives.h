// Kernels of learning: derivatives of the operations that ckernels.h has, float32 and row-major.
//
// As there, every kernel has a scalar version, which defines its result, and versions for vector units,
// which agree with it within rounding.

#ifndef CK_DERIVATIVES_H
#define CK_DERIVATIVES_H

#include <stddef.h>

#include "ckernels.h"

// y = x · Φ(x), as `ck_gelu` but for −∞ within the same bound, and x becomes the slope
// Φ(x) + x · φ(x), within 1e-6. `y` must not be `x`.
void ck_gelu_and_slope(float *x, float *y, size_t count);

// x = softmax(x + bias + mask) row by row, as `ck_softmax`; `bias` and `mask` are [rows, columns], and
// `mask` may be null.
void ck_biased_softmax(
  float *x, const float *bias, const float *mask, size_t rows, size_t columns);

// Turns the gradient by a softmax's result p to that by its argument, in place and row by row:
// p ∘ (g − Σ g·p). Adds it to `sum` [rows, columns], which may be null.
void ck_softmax_gradient(
  const float *p, float *g, size_t rows, size_t columns, float *sum);

// A quantizer's gradient by its bounds.
typedef struct ck_bound_gradient {
  double lower;
  double upper;
} ck_bound_gradient;

// Turns the gradient g by Q(factor · x) to that by x, in place, and adds those by the bounds to `sum`,
// for `rows` rows of `columns` elements that lie `stride` apart in both. `factor` is positive.
//
// Rounding counts as the identity in derivatives (the straight-through estimator), which gives, with
// t = (x − lower) / s,
//
//     ∂Q/∂x = 1 for lower ≤ x ≤ upper, else 0
//     ∂Q/∂upper = (round(t) − t) / levels for lower < x < upper, 1 for x ≥ upper, else 0
//     ∂Q/∂lower = (t − round(t)) / levels for lower < x < upper, 1 for x ≤ lower, else 0
//
// Where s is not above zero, only ∂Q/∂lower = 1 is not zero. With bounds that are multiples of a row's
// largest magnitude m = |xₖ|, derivatives by `lower` and `upper` are m times those by the row's bounds,
// and m itself has the derivative lower · ∂Q/∂(m · lower) + upper · ∂Q/∂(m · upper), which goes to xₖ,
// the first of equals, with its sign; equals that are a bound themselves have no other. Rows of zeros
// stay zeros.
//
// Bounds of a group lie at least · (1 − lower) / 2 + greatest · (1 + lower) / 2 and likewise for
// `upper`: derivatives go by half the distance of both to those by `lower` and `upper`, and by the
// weights in this sum to the first of the least and of the greatest elements. In groups that are one
// value rounding counts as the identity.
void ck_quantize_gradient(
  const ck_quantizer *quantizer, const float *x, float factor, size_t rows, size_t columns,
  size_t stride, float *g, ck_bound_gradient *sum);

// Adds to `sum` [channels, 1, 3, 3] the gradient by the weight of `ck_depthwise_convolution`, from its
// whole input x and the gradient g by its result, both [height, width, channels].
void ck_depthwise_weight_gradient(
  size_t channels, size_t height, size_t width, const float *x, const float *g, float *sum);

#endif
