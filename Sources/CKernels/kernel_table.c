#include "kernel_table.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { level_unknown = -1 };

static _Atomic int highest_level = level_unknown;
static _Thread_local int thread_level = level_unknown;

static ck_vector_level processor_level(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  bool has_256 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  bool has_512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
    __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  return has_256 && has_512 ? CK_VECTOR_512 : has_256 ? CK_VECTOR_256 : CK_VECTOR_128;
#elif defined(__aarch64__)
  return CK_VECTOR_128;
#else
  return CK_VECTOR_SCALAR;
#endif
}

// What the environment lowers `level` to.
static ck_vector_level lowered_level(ck_vector_level level) {
  static const char *const names[] = {"scalar", "128", "256", "512"};
  const char *name = getenv("CONDI_VECTOR_LEVEL");
  if (name == NULL) return level;
  for (int index = 0; index < (int)level; index++)
    if (strcmp(name, names[index]) == 0) return (ck_vector_level)index;
  return level;
}

ck_vector_level ck_highest_vector_level(void) {
  int level = atomic_load_explicit(&highest_level, memory_order_relaxed);
  if (level == level_unknown) {
    // Threads that come here together find the same.
    level = (int)lowered_level(processor_level());
    atomic_store_explicit(&highest_level, level, memory_order_relaxed);
  }
  return (ck_vector_level)level;
}

ck_vector_level ck_current_vector_level(void) {
  ck_vector_level highest = ck_highest_vector_level();
  return thread_level == level_unknown || thread_level > (int)highest
    ? highest : (ck_vector_level)thread_level;
}

void ck_set_thread_vector_level(ck_vector_level level) { thread_level = (int)level; }

const ck_kernel_table *ck_kernels(void) {
  static const ck_kernel_table *const tables[] = CK_TABLES(ck_scalar_kernels, ck_kernels_);
  return tables[ck_current_vector_level()];
}

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

void ck_softmax(float *x, size_t rows, size_t columns) { ck_kernels()->softmax(x, rows, columns); }

float ck_row_magnitude(const float *x, size_t count) {
  return ck_kernels()->row_magnitude(x, count);
}

ck_range ck_range_of(const float *x, size_t count) {
  return ck_kernels()->range(x, count);
}

void ck_quantize(
  const ck_quantizer *quantizer, float *x, size_t rows, size_t columns, size_t x_stride) {
  ck_kernels()->quantize(quantizer, x, rows, columns, x_stride);
}

// MARK: Attention

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
  // The transposed bias, and for one block of queries: the queries, their probabilities and results.
  return queries * keys + ck_attention_block * (keys + 2 * head);
}
