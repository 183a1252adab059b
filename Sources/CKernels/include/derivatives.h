// Training kernels: derivatives of the operations in ckernels.h, float32 and row-major.
//
// Every kernel has a scalar version, which defines its result, and versions for vector units, which
// agree with it within rounding.

#ifndef CK_DERIVATIVES_H
#define CK_DERIVATIVES_H

#include <stddef.h>

#include "ckernels.h"

// y = x · Φ(x), within the same bound as `ck_gelu` except for −∞. x is replaced by the slope
// Φ(x) + x · φ(x), within 1e-6. `y` must not be `x`.
void ck_gelu_and_slope(float *x, float *y, size_t count);

// x = softmax(x + bias + mask) for each row, as in `ck_softmax`. `bias` and `mask` are [rows,
// columns]; `mask` may be null.
void ck_biased_softmax(
  float *x, const float *bias, const float *mask, size_t rows, size_t columns);

// Replaces the gradient g with respect to a softmax's result p by that with respect to its
// argument, in place, for each row: p ∘ (g − Σ g·p). Adds it to `sum` [rows, columns], which may be
// null.
void ck_softmax_gradient(
  const float *p, float *g, size_t rows, size_t columns, float *sum);

// The gradient with respect to a quantizer's bounds.
typedef struct ck_bound_gradient {
  double lower;
  double upper;
} ck_bound_gradient;

// Replaces the gradient g with respect to Q(factor · x) by that with respect to x, in place, and
// adds those with respect to the bounds to `sum`, for `rows` rows of `columns` elements, `stride`
// apart in both arrays. `factor` is positive.
//
// Derivatives treat rounding as the identity (the straight-through estimator). With
// t = (x − lower) / s:
//
//     ∂Q/∂x = 1 for lower ≤ x ≤ upper, else 0
//     ∂Q/∂upper = (round(t) − t) / levels for lower < x < upper, 1 for x ≥ upper, else 0
//     ∂Q/∂lower = (t − round(t)) / levels for lower < x < upper, 1 for x ≤ lower, else 0
//
// If s is not positive, only ∂Q/∂lower = 1 is nonzero. If the bounds are multiples of a row's
// largest magnitude m = |xₖ|, derivatives with respect to `lower` and `upper` are m times those
// with respect to the row's bounds. The derivative with respect to m itself,
// lower · ∂Q/∂(m · lower) + upper · ∂Q/∂(m · upper), is added, with the sign of xₖ, to the first
// element of that magnitude; elements that equal a bound have no other gradient. Rows of zeros stay
// zero.
//
// A group's bounds are least · (1 − lower) / 2 + greatest · (1 + lower) / 2 and likewise for
// `upper`. Derivatives with respect to `lower` and `upper` are therefore multiplied by half the
// range, and the weights in this sum distribute derivatives to the first smallest and first largest
// element. For groups that become a single value, quantization counts as the identity.
void ck_quantize_gradient(
  const ck_quantizer *quantizer, const float *x, float factor, size_t rows, size_t columns,
  size_t stride, float *g, ck_bound_gradient *sum);

// Adds to `sum` [channels, 1, 3, 3] the gradient with respect to the weight of
// `ck_depthwise_convolution`, from its whole input x and the gradient g with respect to its result,
// both [height, width, channels].
void ck_depthwise_weight_gradient(
  size_t channels, size_t height, size_t width, const float *x, const float *g, float *sum);

#endif
