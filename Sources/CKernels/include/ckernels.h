// Numeric kernels of the super-resolution engine: float32, row-major, strides in elements.
//
// Every kernel has a scalar version, which defines its result, and versions for the vector units of
// the processor at hand, which are chosen at run time and agree with it within rounding: sums of n
// products differ from the exact sum by at most n · 2⁻²³ · Σ |factors| at every level, what is said to
// be whole numbers or quantized not at all, and functions within what is said of each. The result
// of a row does not depend on which other rows a call takes, so callers may share rows out to threads
// as they please.
//
// No kernel starts threads; only those called `create` allocate. All may be called from several
// threads at once, and for zero rows do nothing. Inputs and outputs overlap only where that is said.
//
// NaN and infinities follow the arithmetic: a NaN among the inputs of an element makes it NaN, and
// reaches no element that it is not an input of. Exceptions are said where they are.

#ifndef CKERNELS_H
#define CKERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// MARK: Vector units

typedef enum ck_vector_level {
  // Plain C, one element after the other: the reference.
  CK_VECTOR_SCALAR,
  // What every processor of the architecture has: SSE2, NEON.
  CK_VECTOR_128,
  // AVX2 with FMA.
  CK_VECTOR_AVX2,
  // AVX-512 F, VL, BW and DQ.
  CK_VECTOR_AVX512,
  // And its sums of products of bytes.
  CK_VECTOR_AVX512_VNNI,
} ck_vector_level;

enum { CK_VECTOR_LEVEL_COUNT = CK_VECTOR_AVX512_VNNI + 1 };

// "scalar", "128", "avx2", "avx512" or "avx512-vnni".
const char *ck_vector_level_name(ck_vector_level level);

// The highest level of this processor.
ck_vector_level ck_processor_vector_level(void);

// Finds a level of this processor by its name; returns whether there is one.
bool ck_find_vector_level(const char *name, ck_vector_level *level);

// The level at which kernels run: the processor's, or a lower one that the environment variable
// CONDI_VECTOR_LEVEL names. Another value of the variable is ignored here; the program refuses it.
ck_vector_level ck_default_vector_level(void);

// The highest level at which kernels can be run: the default, or what tests emulate.
ck_vector_level ck_highest_vector_level(void);

// The level at which kernels called from this thread run.
ck_vector_level ck_current_vector_level(void);

// Sets the level of kernels called from this thread, for tests and measurements; levels above the
// highest one are taken as the highest one.
void ck_set_thread_vector_level(ck_vector_level level);

// Goes back to the default level.
void ck_reset_thread_vector_level(void);

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

// Packs `weight` [outputs, inputs] and `bias` [outputs], which may be null. Returns null when memory
// is short. What comes out serves every vector level.
ck_linear *ck_linear_create(const float *weight, const float *bias, size_t outputs, size_t inputs);
void ck_linear_destroy(ck_linear *linear);

// y[r, :] = epilogue(W x[r, :] + b) for `rows` rows. `y` may be `residual`, not `x`.
void ck_linear_apply(
  const ck_linear *linear, size_t rows, const float *x, size_t x_stride, float *y, size_t y_stride,
  ck_epilogue epilogue, const float *residual, size_t residual_stride);

// MARK: Convolutions, channels last ([height, width, channels])

typedef struct ck_convolution ck_convolution;

// A 3×3 convolution with zero padding 1, from `weight` [outputs, inputs, 3, 3] and `bias`, which may
// be null. Returns null when memory is short.
ck_convolution *ck_convolution_create(
  const float *weight, const float *bias, size_t outputs, size_t inputs);
void ck_convolution_destroy(ck_convolution *convolution);

// Rows [first_row, first_row + rows) of the output; `x` and `y` are whole pictures. `residual` as above.
void ck_convolution_apply(
  const ck_convolution *convolution, size_t height, size_t width, size_t first_row, size_t rows,
  const float *x, float *y, ck_epilogue epilogue, const float *residual);

// The same with one 3×3 filter a channel: `weight` is [channels, 1, 3, 3] as PyTorch has it; `bias` may
// be null; strides are those of the pixels, so that some channels of a wider picture can be taken.
// `epilogue` must not be CK_EPILOGUE_ADD.
void ck_depthwise_convolution(
  const float *weight, const float *bias, size_t channels, size_t height, size_t width,
  size_t first_row, size_t rows, const float *x, size_t x_stride, float *y, size_t y_stride,
  ck_epilogue epilogue);

// MARK: Normalization and activations

// y = (x − mean) / √(variance + epsilon) · gamma + beta over each row of at least one column, with the
// variance's divisor `columns`; `y` may be `x`.
void ck_layer_norm(
  size_t rows, size_t columns, const float *x, size_t x_stride, const float *gamma,
  const float *beta, float epsilon, float *y, size_t y_stride);

// In place over `count` elements. GELU keeps within 1e-6 · max(1, |x|) of x · Φ(x), gives ∞ for ∞ and
// NaN for −∞, as PyTorch does.
void ck_gelu(float *x, size_t count);
void ck_sigmoid(float *x, size_t count);
// Each row becomes exp(x − max) / Σ; rows are contiguous. A row that holds a NaN or +∞, or −∞ alone,
// becomes NaN throughout.
void ck_softmax(float *x, size_t rows, size_t columns);

// MARK: Quantization

// A uniform quantizer: s · round((clip(x, lower, upper) − lower) / s) + lower with
// s = (upper − lower) / levels, ties to even. Every vector level gives the same bits. NaN stays NaN,
// infinities are clipped. Where s is zero or below, every number becomes lower; where it is infinite,
// NaN. `levels` is below 2²².
typedef struct ck_quantizer {
  float lower;
  float upper;
  // 2^bits − 1.
  float levels;
  // Bounds are multiples of each row's largest magnitude (`ck_row_magnitude`), not the same for all:
  // an infinity then makes its whole row NaN.
  bool is_row_scaled;
  // Not zero, for rows that are not scaled: a row is cut into groups of so many elements, the last of
  // which may be shorter, and bounds from −1 to 1 lie between the least and the greatest element of
  // each. An infinity makes its whole group NaN; a group whose elements are less than
  // CK_LEAST_ROW_MAGNITUDE apart becomes the least of them throughout.
  size_t group_size;
} ck_quantizer;

// max |x| over `count` elements; 0 where that is below CK_LEAST_ROW_MAGNITUDE, so that the steps
// between a row's codes do not vanish: such a row is quantized to zeros. NaN counts as 0.
float ck_row_magnitude(const float *x, size_t count);

// The least and the greatest of some elements, where NaN counts as none; +∞ and −∞ of no elements.
typedef struct ck_range {
  float least;
  float greatest;
} ck_range;

ck_range ck_range_of(const float *x, size_t count);

#define CK_LEAST_ROW_MAGNITUDE 1e-30f

// In place over rows of `columns` elements.
void ck_quantize(
  const ck_quantizer *quantizer, float *x, size_t rows, size_t columns, size_t x_stride);

// Linear layers whose weights and inputs are codes of a few bits, multiplied as whole numbers.
typedef struct ck_integer_linear ck_integer_linear;

enum { CK_INTEGER_MOST_INPUTS = 16384 };

// Whether layers can have so many inputs in groups of that size: 1 to `CK_INTEGER_MOST_INPUTS`, and at most
// 1,024 groups whose size is a multiple of 4, or one.
bool ck_integer_linear_takes(size_t inputs, size_t group_size);

// Packs `codes` [outputs, inputs], one a byte, each below 2^weight_bits with 1 to 8 bits: they stand
// for the weights lower[o] + scale[o] · code. `bias` [outputs] may be null. The inputs are coded by
// `activations`, with a whole number of levels from 1 to 255.
//
// Returns null when memory is short, for other codes and levels, and for inputs that are not taken.
ck_integer_linear *ck_integer_linear_create(
  const uint8_t *codes, unsigned weight_bits, const float *lower, const float *scale,
  const float *bias, size_t outputs, size_t inputs, const ck_quantizer *activations);
void ck_integer_linear_destroy(ck_integer_linear *linear);

// y[r, :] = epilogue(W quantize(x[r, :]) + b), as `ck_linear_apply`. The products of codes are summed
// up exactly; only what is multiplied with their sums is rounded. A NaN makes its row NaN, and so does
// an infinity where bounds are a row's or a group's own.
void ck_integer_linear_apply(
  const ck_integer_linear *linear, size_t rows, const float *x, size_t x_stride, float *y,
  size_t y_stride, ck_epilogue epilogue, const float *residual, size_t residual_stride);

// MARK: Attention

// One head of one window: out = quantize(softmax(scale · q kᵀ + bias + mask)) v.
//
// q [queries, head], k and v [keys, head], each with the stride of its tokens; bias and mask
// [queries, keys], either may be null; `quantizer` of the probabilities, a row a query and not in groups,
// may be null;
// `scratch` holds `ck_attention_scratch_count(queries, keys, head)` floats. At least one key and one
// element a head.
void ck_attention(
  size_t queries, size_t keys, size_t head, const float *q, size_t q_stride, const float *k,
  size_t k_stride, const float *v, size_t v_stride, float scale, const float *bias,
  const float *mask, const ck_quantizer *quantizer, float *out, size_t out_stride,
  float *scratch);

// The same with `bias` and `mask` transposed, [keys, queries], which is faster: several queries are
// worked on at once. (The masks of shifted windows are symmetric.)
void ck_attention_transposed(
  size_t queries, size_t keys, size_t head, const float *q, size_t q_stride, const float *k,
  size_t k_stride, const float *v, size_t v_stride, float scale, const float *bias,
  const float *mask, const ck_quantizer *quantizer, float *out, size_t out_stride,
  float *scratch);

// How many floats `scratch` holds for an attention of this size.
size_t ck_attention_scratch_count(size_t queries, size_t keys, size_t head);

#endif
