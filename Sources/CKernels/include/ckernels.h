// Numeric kernels of the super-resolution engine: float32, row-major, strides in elements.
//
// Every kernel has a scalar version, which defines its result, and may have versions for the vector
// units of the processor at hand, which are chosen at run time and agree within rounding.
// No kernel starts threads or allocates, except the ones that say so; all may be called from several threads at once.

#ifndef CKERNELS_H
#define CKERNELS_H

#include <stddef.h>
#include <stdint.h>

// MARK: Linear layers

// Weights of a linear layer, in the order in which the processor at hand reads them.
typedef struct ck_linear ck_linear;

// What is done with each output element before it is stored.
typedef enum ck_epilogue {
  CK_EPILOGUE_NONE,
  // The exact GELU, x · Φ(x).
  CK_EPILOGUE_GELU,
  CK_EPILOGUE_RELU,
  // With the slope 0.01 below zero.
  CK_EPILOGUE_LEAKY_RELU,
  // Adds the element of `residual` in the same place.
  CK_EPILOGUE_ADD,
} ck_epilogue;

// Packs `weight` [outputs, inputs] and `bias` [outputs], which may be null. Returns null when memory is short.
ck_linear *ck_linear_create(const float *weight, const float *bias, size_t outputs, size_t inputs);
void ck_linear_destroy(ck_linear *linear);

// y[r, :] = epilogue(W x[r, :] + b) for `rows` rows. `y` may be `residual`, not `x`.
void ck_linear_apply(
  const ck_linear *linear, size_t rows, const float *x, size_t x_stride, float *y, size_t y_stride,
  ck_epilogue epilogue, const float *residual, size_t residual_stride);

// MARK: Convolutions, channels last ([height, width, channels])

typedef struct ck_convolution ck_convolution;

// A 3×3 convolution with zero padding 1, from `weight` [outputs, inputs, 3, 3] and `bias`, which may be null.
ck_convolution *ck_convolution_create(
  const float *weight, const float *bias, size_t outputs, size_t inputs);
void ck_convolution_destroy(ck_convolution *convolution);

// Rows [first_row, first_row + rows) of the output; `x` and `y` are whole pictures. `residual` as above.
void ck_convolution_apply(
  const ck_convolution *convolution, size_t height, size_t width, size_t first_row, size_t rows,
  const float *x, float *y, ck_epilogue epilogue, const float *residual);

// The same with one 3×3 filter a channel: `weight` is [channels, 1, 3, 3] as PyTorch has it.
void ck_depthwise_convolution(
  const float *weight, const float *bias, size_t channels, size_t height, size_t width,
  size_t first_row, size_t rows, const float *x, size_t x_stride, float *y, size_t y_stride,
  ck_epilogue epilogue);

// MARK: Normalization and activations

// y = (x − mean) / √(variance + epsilon) · gamma + beta over each row; `y` may be `x`.
void ck_layer_norm(
  size_t rows, size_t columns, const float *x, size_t x_stride, const float *gamma,
  const float *beta, float epsilon, float *y, size_t y_stride);

// In place over `count` elements.
void ck_gelu(float *x, size_t count);
void ck_sigmoid(float *x, size_t count);
// Each row becomes exp(x − max) / Σ; rows are contiguous.
void ck_softmax(float *x, size_t rows, size_t columns);

// MARK: Attention

// A uniform quantizer: s · round((clip(x, lower, upper) − lower) / s) + lower with s = (upper − lower) / levels, ties to even.
typedef struct ck_quantizer {
  float lower;
  float upper;
  // 2^bits − 1.
  float levels;
} ck_quantizer;

// In place over rows of `columns` elements.
void ck_quantize(
  const ck_quantizer *quantizer, float *x, size_t rows, size_t columns, size_t x_stride);

// One head of one window: out = quantize(softmax(scale · q kᵀ + bias + mask)) v.
//
// q [queries, head], k and v [keys, head], each with the stride of its tokens; bias and mask
// [queries, keys], either may be null; `quantizer` of the probabilities, may be null; `scratch` holds
// queries · keys floats.
void ck_attention(
  size_t queries, size_t keys, size_t head, const float *q, size_t q_stride, const float *k,
  size_t k_stride, const float *v, size_t v_stride, float scale, const float *bias,
  const float *mask, const ck_quantizer *quantizer, float *out, size_t out_stride,
  float *scratch);

#endif
