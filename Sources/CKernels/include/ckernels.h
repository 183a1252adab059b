// Numeric kernels of the super-resolution engine: float32, row-major, strides in elements.
//
// Every kernel has a scalar version, which defines its result, and versions for vector units, which
// are selected at run time and agree with it within rounding. At every level, sums of n products
// differ from the exact sum by at most n · 2⁻²³ · Σ |factors|, integer and quantized results are
// identical, and functions stay within their documented bounds. The result of a row does not depend
// on the other rows of a call, so callers may distribute rows over threads freely. Winograd's
// convolutions have a bound and a rule of their own.
//
// Kernels start no threads, and only functions named `create` allocate. All functions may be called
// concurrently, and do nothing for zero rows. Inputs and outputs must not overlap unless stated
// otherwise.
//
// NaN and infinities propagate arithmetically: a NaN input makes exactly those elements NaN that
// depend on it. Exceptions are documented.

#ifndef CKERNELS_H
#define CKERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// MARK: Vector units

typedef enum ck_vector_level {
  // Plain C, one element at a time: the reference.
  CK_VECTOR_SCALAR,
  // The baseline of the architecture: SSE2 or NEON.
  CK_VECTOR_128,
  // AVX2 with FMA.
  CK_VECTOR_AVX2,
  // AVX-512 F, VL, BW and DQ.
  CK_VECTOR_AVX512,
  // AVX-512 with VNNI, which sums products of bytes.
  CK_VECTOR_AVX512_VNNI,
} ck_vector_level;

enum { CK_VECTOR_LEVEL_COUNT = CK_VECTOR_AVX512_VNNI + 1 };

// Returns "scalar", "128", "avx2", "avx512" or "avx512-vnni".
const char *ck_vector_level_name(ck_vector_level level);

// Returns the highest level that this processor supports.
ck_vector_level ck_processor_vector_level(void);

// Finds a level supported by this processor by its name; returns whether it exists.
bool ck_find_vector_level(const char *name, ck_vector_level *level);

// Returns the default level: the processor's, or a lower one named by the environment variable
// CONDI_VECTOR_LEVEL. Other values of the variable are ignored here; the program rejects them.
ck_vector_level ck_default_vector_level(void);

// Returns the highest available level: the default one or the level that tests emulate.
ck_vector_level ck_highest_vector_level(void);

// Returns the level of kernels called from this thread.
ck_vector_level ck_current_vector_level(void);

// Sets the level of kernels called from this thread, for tests and measurements. Levels above the
// highest one are reduced to it.
void ck_set_thread_vector_level(ck_vector_level level);

// Restores the default level.
void ck_reset_thread_vector_level(void);

// MARK: Linear layers

// The weights of a linear layer, in a layout suited to the processor.
typedef struct ck_linear ck_linear;

// The operation applied to each output element before it is stored.
typedef enum ck_epilogue {
  CK_EPILOGUE_NONE,
  // The exact GELU, x · Φ(x).
  CK_EPILOGUE_GELU,
  CK_EPILOGUE_RELU,
  // With slope 0.01 below zero.
  CK_EPILOGUE_LEAKY_RELU,
  // Adds the element of `residual` at the same position.
  CK_EPILOGUE_ADD,
} ck_epilogue;

// Packs `weight` [outputs, inputs] and `bias` [outputs], which may be null. Returns null if memory
// is exhausted. The result serves every vector level.
ck_linear *ck_linear_create(const float *weight, const float *bias, size_t outputs, size_t inputs);
void ck_linear_destroy(ck_linear *linear);

// y[r, :] = epilogue(W x[r, :] + b) for `rows` rows. `y` may be `residual` but not `x`.
void ck_linear_apply(
  const ck_linear *linear, size_t rows, const float *x, size_t x_stride, float *y, size_t y_stride,
  ck_epilogue epilogue, const float *residual, size_t residual_stride);

// MARK: Convolutions, channels last ([height, width, channels])

typedef struct ck_convolution ck_convolution;

// What pixels outside an image are.
typedef enum ck_padding {
  CK_PADDING_ZEROS,
  // Mirrored at the pixels of the edge, which are not repeated.
  CK_PADDING_REFLECT,
  // The nearest pixel of the edge.
  CK_PADDING_REPLICATE,
} ck_padding;

typedef struct ck_convolution_shape {
  size_t outputs;
  size_t inputs;
  size_t kernel_height;
  size_t kernel_width;
  // How many pixels neighbouring results are apart in the input, and neighbouring taps.
  size_t step;
  size_t dilation;
  // The pixels added above and below, and left and right.
  size_t padding_height;
  size_t padding_width;
  ck_padding padding;
} ck_convolution_shape;

// A kernel has at most this many taps.
enum { CK_CONVOLUTION_MOST_TAPS = 4096 };

// Creates a convolution from `weight` [outputs, inputs, kernel_height, kernel_width] and `bias`,
// which may be null. Returns null if memory is exhausted.
ck_convolution *ck_convolution_create(
  const float *weight, const float *bias, const ck_convolution_shape *shape);
void ck_convolution_destroy(ck_convolution *convolution);

// Computes rows [first_row, first_row + rows) of the output, whose sides are
// (side + 2 · padding − dilation · (kernel − 1) − 1) / step + 1, rounded down. `x`, of `height` ×
// `width` pixels, and `y` are whole images. Strides are those of pixels, so that a subset of an
// image's channels can be read or written; `residual` is as above. Mirrored padding is smaller than
// the image.
void ck_convolution_apply(
  const ck_convolution *convolution, size_t height, size_t width, size_t first_row, size_t rows,
  const float *x, size_t x_stride, float *y, size_t y_stride, ck_epilogue epilogue,
  const float *residual, size_t residual_stride);

// Computes the same with one 3×3 filter per channel. `weight` is [channels, 1, 3, 3], as in
// PyTorch; `bias` may be null. Strides are those of pixels, so that a subset of an image's channels
// can be used. `epilogue` must not be CK_EPILOGUE_ADD.
void ck_depthwise_convolution(
  const float *weight, const float *bias, size_t channels, size_t height, size_t width,
  size_t first_row, size_t rows, const float *x, size_t x_stride, float *y, size_t y_stride,
  ck_epilogue epilogue);

// The side of the square of results that Winograd's algorithm computes at once.
enum { CK_WINOGRAD_TILE = 4 };

// A convolution by Winograd's algorithm, which needs a quarter of the multiplications: for 3×3
// kernels, step and dilation 1, and one zero of padding on each side.
typedef struct ck_winograd ck_winograd;

// Creates a convolution from `weight` [outputs, inputs, 3, 3] and `bias`, which may be null.
// Returns null if memory is exhausted. The result serves every vector level.
ck_winograd *ck_winograd_create(
  const float *weight, const float *bias, size_t outputs, size_t inputs);
void ck_winograd_destroy(ck_winograd *winograd);

// Returns the number of parts in which a convolution's filters can be evaluated, and the number of
// floats that their values take.
size_t ck_winograd_panel_count(const ck_winograd *winograd);
size_t ck_winograd_value_count(const ck_winograd *winograd);

// Computes the values of some of the filters. They are four times as large as the filters, and made in
// little time, so that a network's need not exist all at once.
void ck_winograd_evaluate(
  const ck_winograd *winograd, size_t first_panel, size_t panels, float *values);

// Returns the number of floats in the scratch of one call, whatever the size of the image.
size_t ck_winograd_scratch_count(const ck_winograd *winograd);

// Computes rows [first_row, first_row + rows) of the output as `ck_convolution_apply` does, in
// square tiles from the first of these rows on, with the values of all filters. Results are the same however rows are distributed
// over calls, provided that each call starts at a multiple of CK_WINOGRAD_TILE.
//
// A result differs from the exact one by at most
// 11 · (n + 24) · 2⁻²⁰ · (|bias| + Σ over the n inputs of (largest |pixel|) · (Σ |weights|)), where
// the pixels are the tile's and those next to it; on average by about twice as much as that of
// `ck_convolution_apply`. A NaN or an infinity among them may make all results of the tile NaN.
void ck_winograd_apply(
  const ck_winograd *winograd, const float *values, size_t height, size_t width, size_t first_row,
  size_t rows, const float *x, size_t x_stride, float *y, size_t y_stride, float *scratch);

// MARK: Normalization and activations

// y = (x − mean) / √(variance + epsilon) · gamma + beta for each row of at least one column. The
// variance's divisor is `columns`; `y` may be `x`.
void ck_layer_norm(
  size_t rows, size_t columns, const float *x, size_t x_stride, const float *gamma,
  const float *beta, float epsilon, float *y, size_t y_stride);

// Operates in place on `count` elements. GELU is within 1e-6 · max(1, |x|) of x · Φ(x), and returns
// ∞ for ∞ and NaN for −∞, as in PyTorch.
void ck_gelu(float *x, size_t count);
void ck_sigmoid(float *x, size_t count);
// x / (1 + e⁻ˣ).
void ck_silu(float *x, size_t count);
// x · tanh(ln(1 + eˣ)).
void ck_mish(float *x, size_t count);
// Replaces each row by exp(x − max) / Σ; rows are contiguous. A row with a NaN or +∞, or with
// nothing but −∞, becomes entirely NaN.
void ck_softmax(float *x, size_t rows, size_t columns);

// MARK: Quantization

// A uniform quantizer: s · round((clip(x, lower, upper) − lower) / s) + lower with
// s = (upper − lower) / levels, ties to even. Results are bitwise identical at every vector level.
// NaN stays NaN; infinities are clipped. If s is zero or negative, every number becomes `lower`; if
// it is infinite, NaN. `levels` is less than 2²².
typedef struct ck_quantizer {
  float lower;
  float upper;
  // 2^bits − 1.
  float levels;
  // Whether the bounds are multiples of each row's largest magnitude (`ck_row_magnitude`) rather
  // than absolute. An infinity then makes its whole row NaN.
  bool is_row_scaled;
  // If not zero, and rows are not scaled: the size of the groups into which each row is divided,
  // the last of which may be shorter. Bounds from −1 to 1 then map to the range between the
  // smallest and largest element of each group. An infinity makes its whole group NaN. A group
  // whose elements differ by less than CK_LEAST_ROW_MAGNITUDE becomes its smallest element
  // throughout.
  size_t group_size;
  // Whether each quantized row is divided by its sum, as attention weights are, which have a sum of 1 before;
  // a row whose sum is less than CK_LEAST_ROW_MAGNITUDE stays as it is. Without groups.
  bool is_normalized;
} ck_quantizer;

// Returns max |x| over `count` elements, or 0 if that is less than CK_LEAST_ROW_MAGNITUDE. The
// steps between a row's codes thus do not underflow: such a row is quantized to zeros. NaN counts
// as 0.
float ck_row_magnitude(const float *x, size_t count);

// The smallest and largest of some elements, ignoring NaN; +∞ and −∞ if there are none.
typedef struct ck_range {
  float least;
  float greatest;
} ck_range;

ck_range ck_range_of(const float *x, size_t count);

#define CK_LEAST_ROW_MAGNITUDE 1e-30f

// Operates in place on rows of `columns` elements.
void ck_quantize(
  const ck_quantizer *quantizer, float *x, size_t rows, size_t columns, size_t x_stride);

// Quantizes rows of x to rows of y, which is x itself or lies elsewhere.
void ck_quantize_to(
  const ck_quantizer *quantizer, const float *x, size_t rows, size_t columns, size_t x_stride,
  float *y, size_t y_stride);

// A linear layer whose weights and inputs are codes of a few bits, multiplied as integers.
typedef struct ck_integer_linear ck_integer_linear;

enum { CK_INTEGER_MOST_INPUTS = 16384 };

// Returns whether a layer can have this many inputs in groups of this size: 1 to
// `CK_INTEGER_MOST_INPUTS` inputs, in one group or at most 1,024 groups whose size is a multiple of
// 4.
bool ck_integer_linear_takes(size_t inputs, size_t group_size);

// Packs `codes` [outputs, inputs], one per byte, each less than 2^weight_bits with 1 to 8 bits.
// They represent the weights lower[o] + scale[o] · code. `bias` [outputs] may be null. The inputs
// are coded by `activations`, whose number of levels is an integer from 1 to 255.
//
// Returns null if memory is exhausted, or for unsupported codes, levels or inputs.
ck_integer_linear *ck_integer_linear_create(
  const uint8_t *codes, unsigned weight_bits, const float *lower, const float *scale,
  const float *bias, size_t outputs, size_t inputs, const ck_quantizer *activations);
void ck_integer_linear_destroy(ck_integer_linear *linear);

// Returns the bytes that the weights take.
size_t ck_integer_linear_byte_count(const ck_integer_linear *linear);

// y[r, :] = epilogue(W quantize(x[r, :]) + b), as in `ck_linear_apply`. The products of codes are
// summed exactly; only multiplications with these sums are rounded. A NaN makes its row NaN, and so
// does an infinity if bounds are relative to a row or a group.
void ck_integer_linear_apply(
  const ck_integer_linear *linear, size_t rows, const float *x, size_t x_stride, float *y,
  size_t y_stride, ck_epilogue epilogue, const float *residual, size_t residual_stride);

// Rows of codes, by a quantizer whose bounds are the same for all rows.
typedef struct ck_code_rows {
  // What follows a row's codes is undefined, and may be written.
  uint8_t *codes;
  // The bytes from a row to the next; see `ck_code_stride`.
  size_t stride;
  // One per row: NaN if one of the row's values is, or else 0.
  float *marks;
} ck_code_rows;

// Returns the bytes between rows of this many codes, and the bytes that so many rows take, which may be
// read to the end. Their marks are not counted.
size_t ck_code_stride(size_t columns);
size_t ck_code_byte_count(size_t rows, size_t columns);

// Codes rows of values times `factor`, which is positive, and adds their marks to those of the rows. A code may differ by one from that of the
// quantizer where the value, in steps, is within 1e-4 of the middle of two.
void ck_code(
  const ck_quantizer *quantizer, float factor, size_t rows, size_t columns, const float *x,
  size_t x_stride, const ck_code_rows *y);

// Computes the same as `ck_integer_linear_apply` from the codes of the inputs, which have bounds that
// are the same for all rows.
void ck_integer_linear_apply_to_codes(
  const ck_integer_linear *linear, size_t rows, const ck_code_rows *x, float *y, size_t y_stride,
  ck_epilogue epilogue, const float *residual, size_t residual_stride);

// A layer normalization whose results are coded.
typedef struct ck_coded_norm ck_coded_norm;

// Prepares a normalization as by `ck_layer_norm` and the coding of its results. Returns null if memory is
// exhausted; if bounds follow the values; for more than 255 levels; and if factors are so large or bounds
// so close that results might overflow.
ck_coded_norm *ck_coded_norm_create(
  size_t columns, const float *gamma, const float *beta, float epsilon,
  const ck_quantizer *quantizer);
void ck_coded_norm_destroy(ck_coded_norm *norm);

// Computes the codes of normalized rows. A code may differ by one from that of `ck_layer_norm`'s result
// where this, in steps, is within 1e-4 of the middle of two.
void ck_coded_norm_apply(
  const ck_coded_norm *norm, size_t rows, const float *x, size_t x_stride, const ck_code_rows *y);

// What the outputs of an integer linear layer are coded by.
typedef struct ck_output_coding ck_output_coding;

// The coding of some neighbouring outputs, times a positive factor.
typedef struct ck_output_part {
  size_t columns;
  float factor;
  ck_quantizer quantizer;
} ck_output_part;

// Prepares the coding of a layer's outputs after an epilogue that adds nothing. The parts are those of
// all outputs, one alone if there is a function.
//
// Returns null if memory is exhausted; if bounds, those of the inputs too, follow the values; for more
// than 255 levels; and if factors are so large or bounds so close that results might overflow.
ck_output_coding *ck_output_coding_create(
  const ck_integer_linear *linear, ck_epilogue epilogue, const ck_output_part *parts,
  size_t part_count);
void ck_output_coding_destroy(ck_output_coding *coding);

// Computes the codes of a layer's outputs, from values `x` or, if that is null, from `codes`. A code
// may differ by one from that of `ck_integer_linear_apply`'s result where this, in steps, is within
// 1e-4 of the middle of two, and after CK_EPILOGUE_GELU with at most 15 levels
// within 3e-5 divided by the step.
void ck_integer_linear_code(
  const ck_integer_linear *linear, const ck_output_coding *coding, size_t rows, const float *x,
  size_t x_stride, const ck_code_rows *codes, const ck_code_rows *y);

// A convolution whose weights and pixels are codes of a few bits, multiplied as integers.
typedef struct ck_integer_convolution ck_integer_convolution;

// Returns whether a convolution can have this many channels and taps, with the channels of each
// pixel in groups of this size: the patches of a result, whose pixels have a multiple of 4 codes in
// every group, are rows of inputs as `ck_integer_linear_takes` allows.
bool ck_integer_convolution_takes(size_t channels, size_t taps, size_t group_size);

// Packs `codes` [outputs, channels, taps] as `ck_integer_linear_create` does. The pixels are coded by
// `activations`, each as a row.
//
// Returns null if memory is exhausted, or for unsupported codes, levels, channels or taps.
ck_integer_convolution *ck_integer_convolution_create(
  const uint8_t *codes, unsigned weight_bits, const float *lower, const float *scale,
  const float *bias, size_t outputs, size_t channels, size_t taps,
  const ck_quantizer *activations);
void ck_integer_convolution_destroy(ck_integer_convolution *convolution);

// Returns the bytes that the weights take.
size_t ck_integer_convolution_byte_count(const ck_integer_convolution *convolution);

// Returns the number of floats in the scratch of a call for which this many pixels of the input are
// needed.
size_t ck_integer_convolution_scratch_count(
  const ck_integer_convolution *convolution, size_t pixels);

// Computes rows [first_row, first_row + rows) of the output as `ck_convolution_apply` does, from the
// quantized pixels, of which those outside the image are exact zeros. The shape has the outputs,
// channels and taps of the weights. A NaN makes the results NaN that depend on its pixel, and so does
// an infinity if bounds are relative to a row or a group.
void ck_integer_convolution_apply(
  const ck_integer_convolution *convolution, const ck_convolution_shape *shape, size_t height,
  size_t width, size_t first_row, size_t rows, const float *x, size_t x_stride, float *y,
  size_t y_stride, ck_epilogue epilogue, const float *residual, size_t residual_stride,
  float *scratch);

// MARK: Attention

// sums[c, o] += Σ x[r, c] · y[r, c / size · size + o] over `rows` rows, for c < columns and o < size: the
// products of the channels of each head, of which one has `size`.
void ck_head_products(
  size_t rows, size_t columns, size_t size, const float *x, size_t x_stride, const float *y,
  size_t y_stride, float *sums);

// Attention for one head of one window: out = quantize(softmax(scale · q kᵀ + bias + mask)) v.
//
// q is [queries, head], k and v are [keys, head], each with the stride between its tokens. bias and
// mask are [queries, keys]; either may be null. `quantizer`, which may be null, quantizes the
// probabilities with one row per query and without groups. `scratch` holds
// `ck_attention_scratch_count(queries, keys, head)` floats. There is at least one key and one
// element per head.
void ck_attention(
  size_t queries, size_t keys, size_t head, const float *q, size_t q_stride, const float *k,
  size_t k_stride, const float *v, size_t v_stride, float scale, const float *bias,
  const float *mask, const ck_quantizer *quantizer, float *out, size_t out_stride,
  float *scratch);

// Computes the same with `bias` and `mask` transposed, [keys, queries]. This is faster because
// several queries are processed at once. (The masks of shifted windows are symmetric.)
void ck_attention_transposed(
  size_t queries, size_t keys, size_t head, const float *q, size_t q_stride, const float *k,
  size_t k_stride, const float *v, size_t v_stride, float scale, const float *bias,
  const float *mask, const ck_quantizer *quantizer, float *out, size_t out_stride,
  float *scratch);

// Returns the number of floats in `scratch` for an attention of this size.
size_t ck_attention_scratch_count(size_t queries, size_t keys, size_t head);

// The attention of a window from codes, whose products are summed as integers.
typedef struct ck_integer_attention {
  size_t tokens;
  size_t heads;
  // The elements of a token in one head.
  size_t head;
  // All with bounds that are the same for all values, but for the probabilities, whose bounds may be
  // relative to those of a query. `query` quantizes queries that are scaled already.
  ck_quantizer query;
  ck_quantizer key;
  ck_quantizer value;
  ck_quantizer probabilities;
} ck_integer_attention;

// Returns whether an attention can be computed so: quantizers have at most 15 levels, bounds of at most
// 1e12, and steps of at least 1e-12 unless both bounds are equal; there are 1 to 4,096 tokens, and a head
// has 1 to 256 elements.
bool ck_integer_attention_takes(const ck_integer_attention *attention);

// Returns whether results can be coded by a quantizer: one with at most 255 levels, such bounds, and the same
// for all values.
bool ck_integer_attention_codes(const ck_quantizer *output);

size_t ck_integer_attention_scratch_count(const ck_integer_attention *attention);

// Computes quantize(softmax(q kᵀ + bias + mask)) v for all heads of a window.
//
// q, k and v are rows of codes of `heads` · `head` elements, `stride` bytes apart, with `marks`, one per
// token. bias is [heads, keys, queries] and mask, which may be null, [keys, queries]; both are multiplied
// by log₂ e and at most 1e30. Exponentials have a relative error of at most 4e-6. Results are `out`, or codes by `output`,
// of which `coded` are the rows. They are bitwise identical at every vector level. A NaN makes all
// results NaN.
void ck_integer_attention_apply(
  const ck_integer_attention *attention, const uint8_t *q, const uint8_t *k, const uint8_t *v,
  size_t stride, const float *marks, const float *bias, const float *mask, float *out,
  size_t out_stride, const ck_quantizer *output, const ck_code_rows *coded, float *scratch);

#endif
