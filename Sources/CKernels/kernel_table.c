#include "kernel_table.h"
#include "row_sums.h"

#include "vector_levels.h"

const ck_kernel_table *ck_kernels(void) { return ck_current_level()->kernels; }

// MARK: Kernels without weights of their own

void ck_depthwise_convolution(
  const float *weight, const float *bias, size_t channels, size_t height, size_t width,
  size_t first_row, size_t rows, const float *x, size_t x_stride, float *y, size_t y_stride,
  ck_epilogue epilogue) {
  ck_kernels()->depthwise_convolution(
    weight, bias, channels, height, width, first_row, rows, x, x_stride, y, y_stride, epilogue);
}

void ck_layer_norm(
  size_t rows, size_t columns, const float *x, size_t x_stride, const float *gamma,
  const float *beta, float epsilon, float *y, size_t y_stride) {
  ck_kernels()->layer_norm(rows, columns, x, x_stride, gamma, beta, epsilon, y, y_stride);
}

void ck_gelu(float *x, size_t count) { ck_kernels()->gelu(x, count); }

void ck_sigmoid(float *x, size_t count) { ck_kernels()->sigmoid(x, count); }

void ck_silu(float *x, size_t count) { ck_kernels()->silu(x, count); }

void ck_mish(float *x, size_t count) { ck_kernels()->mish(x, count); }

void ck_softmax(float *x, size_t rows, size_t columns) { ck_kernels()->softmax(x, rows, columns); }

float ck_row_magnitude(const float *x, size_t count) {
  return ck_kernels()->row_magnitude(x, count);
}

ck_range ck_range_of(const float *x, size_t count) {
  return ck_kernels()->range(x, count);
}

void ck_quantize(
  const ck_quantizer *quantizer, float *x, size_t rows, size_t columns, size_t x_stride) {
  ck_quantize_to(quantizer, x, rows, columns, x_stride, x, x_stride);
}

void ck_quantize_to(
  const ck_quantizer *quantizer, const float *x, size_t rows, size_t columns, size_t x_stride,
  float *y, size_t y_stride) {
  ck_kernels()->quantize(quantizer, x, rows, columns, x_stride, y, y_stride);
  if (quantizer->is_normalized) ck_normalize_rows(y, rows, columns, y_stride);
}

// MARK: Attention

void ck_head_products(
  size_t rows, size_t columns, size_t size, const float *x, size_t x_stride, const float *y,
  size_t y_stride, float *sums) {
  ck_kernels()->head_products(rows, columns, size, x, x_stride, y, y_stride, sums);
}

void ck_attention_transposed(
  size_t queries, size_t keys, size_t head, const float *q, size_t q_stride, const float *k,
  size_t k_stride, const float *v, size_t v_stride, float scale, const float *bias,
  const float *mask, const ck_quantizer *quantizer, float *out, size_t out_stride,
  float *scratch) {
  ck_kernels()->attention(
    queries, keys, head, q, q_stride, k, k_stride, v, v_stride, scale, bias, mask, quantizer, out,
    out_stride, scratch);
}

void ck_attention(
  size_t queries, size_t keys, size_t head, const float *q, size_t q_stride, const float *k,
  size_t k_stride, const float *v, size_t v_stride, float scale, const float *bias,
  const float *mask, const ck_quantizer *quantizer, float *out, size_t out_stride,
  float *scratch) {
  float *transposed = NULL;
  if (bias != NULL || mask != NULL) {
    transposed = scratch;
    scratch += queries * keys;
    for (size_t key = 0; key < keys; key++)
      for (size_t query = 0; query < queries; query++) {
        size_t place = query * keys + key;
        transposed[key * queries + query] =
          (bias == NULL ? 0 : bias[place]) + (mask == NULL ? 0 : mask[place]);
      }
  }
  ck_attention_transposed(
    queries, keys, head, q, q_stride, k, k_stride, v, v_stride, scale, transposed, NULL, quantizer,
    out, out_stride, scratch);
}

size_t ck_attention_scratch_count(size_t queries, size_t keys, size_t head) {
  // The transposed bias, and the queries, probabilities and results of one block of queries.
  return queries * keys + ck_attention_block * (keys + 2 * head);
}
