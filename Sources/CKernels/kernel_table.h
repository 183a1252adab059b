// The kernels that have a version for each vector level.

#ifndef CK_KERNEL_TABLE_H
#define CK_KERNEL_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "ckernels.h"
#include "weights.h"

typedef struct ck_kernel_table {
  void (*linear)(
    const ck_weights *weights, size_t rows, const float *x, size_t x_stride, float *y,
    size_t y_stride, ck_epilogue epilogue, const float *residual, size_t residual_stride);
  void (*convolution)(
    const ck_weights *weights, const ck_convolution_shape *shape, size_t height, size_t width,
    size_t first_row, size_t rows, const float *x, size_t x_stride, float *y, size_t y_stride,
    ck_epilogue epilogue, const float *residual, size_t residual_stride);
  // The weights have one tap for each of the `ck_patch_area` places at which filters are evaluated.
  void (*winograd)(
    const ck_weights *weights, size_t height, size_t width, size_t first_row, size_t rows,
    const float *x, size_t x_stride, float *y, size_t y_stride, float *scratch);
  // Computes such weights for the filters of one panel.
  void (*filter_values)(size_t inputs, const float *filters, float *values);
  void (*depthwise_convolution)(
    const float *weight, const float *bias, size_t channels, size_t height, size_t width,
    size_t first_row, size_t rows, const float *x, size_t x_stride, float *y, size_t y_stride,
    ck_epilogue epilogue);
  void (*layer_norm)(
    size_t rows, size_t columns, const float *x, size_t x_stride, const float *gamma,
    const float *beta, float epsilon, float *y, size_t y_stride);
  void (*gelu)(float *x, size_t count);
  void (*sigmoid)(float *x, size_t count);
  void (*silu)(float *x, size_t count);
  void (*mish)(float *x, size_t count);
  void (*softmax)(float *x, size_t rows, size_t columns);
  float (*row_magnitude)(const float *x, size_t count);
  ck_range (*range)(const float *x, size_t count);
  void (*quantize)(
    const ck_quantizer *quantizer, const float *x, size_t rows, size_t columns, size_t x_stride,
    float *y, size_t y_stride);
  void (*head_products)(
    size_t rows, size_t columns, size_t size, const float *x, size_t x_stride, const float *y,
    size_t y_stride, float *sums);
  // Takes the bias and mask transposed, [keys, queries].
  void (*attention)(
    size_t queries, size_t keys, size_t head, const float *q, size_t q_stride, const float *k,
    size_t k_stride, const float *v, size_t v_stride, float scale, const float *bias,
    const float *mask, const ck_quantizer *quantizer, float *out, size_t out_stride,
    float *scratch);
} ck_kernel_table;

// A table of the functions with these names in the including file.
#define CK_KERNEL_TABLE \
  { \
    .linear = linear, \
    .convolution = convolution, \
    .winograd = winograd, \
    .filter_values = filter_values, \
    .depthwise_convolution = depthwise_convolution, \
    .layer_norm = layer_norm, \
    .gelu = gelu, \
    .sigmoid = sigmoid, \
    .silu = silu, \
    .mish = mish, \
    .softmax = softmax, \
    .row_magnitude = row_magnitude, \
    .range = range, \
    .quantize = quantize, \
    .head_products = head_products, \
    .attention = attention, \
  }

// Returns the kernels of the current thread's level.
const ck_kernel_table *ck_kernels(void);

// The largest number of queries that attention processes at once. Its scratch holds, for each of
// them, one probability per key and the elements of q and of the result.
enum { ck_attention_block = 64 };

extern const ck_kernel_table ck_scalar_kernels;
extern const ck_kernel_table ck_kernels_128;
extern const ck_kernel_table ck_kernels_256;
extern const ck_kernel_table ck_kernels_512;

#endif
