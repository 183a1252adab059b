// Times linear layers: the float kernel, OpenBLAS, and low-bit codes with the coding of the inputs.
//
// Prints one JSON line a shape with the least seconds of many calls, by one thread (its processor
// time) and, with the argument 2, by two (wall time, halves of the rows each). Compiled and run by Benchmarks/kernels.py.

#define _GNU_SOURCE
#include <cblas.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ckernels.h"

enum { row_count = 4096 };

typedef struct layer {
  size_t inputs, outputs;
  const float *x, *weight, *bias;
  float *y, *copy;
  ck_linear *linear;
  ck_integer_linear *integer;
} layer;

typedef void work(const layer *layer, size_t first, size_t rows);

static void run_linear(const layer *layer, size_t first, size_t rows) {
  ck_linear_apply(
    layer->linear, rows, layer->x + first * layer->inputs, layer->inputs,
    layer->y + first * layer->outputs, layer->outputs, CK_EPILOGUE_NONE, NULL, 0);
}

static void run_integer(const layer *layer, size_t first, size_t rows) {
  ck_integer_linear_apply(
    layer->integer, rows, layer->x + first * layer->inputs, layer->inputs,
    layer->y + first * layer->outputs, layer->outputs, CK_EPILOGUE_NONE, NULL, 0);
}

// What a network does without whole numbers: inputs are quantized in groups, in a copy.
static void run_simulated(const layer *layer, size_t first, size_t rows) {
  ck_quantizer quantizer = {.lower = -0.9f, .upper = 0.9f, .levels = 15, .group_size = 16};
  size_t start = first * layer->inputs;
  memcpy(layer->copy + start, layer->x + start, rows * layer->inputs * sizeof *layer->x);
  ck_quantize(&quantizer, layer->copy + start, rows, layer->inputs, layer->inputs);
  ck_linear_apply(
    layer->linear, rows, layer->copy + start, layer->inputs, layer->y + first * layer->outputs,
    layer->outputs, CK_EPILOGUE_NONE, NULL, 0);
}

// The bias is copied first, as in the other two.
static void run_blas(const layer *layer, size_t first, size_t rows) {
  float *y = layer->y + first * layer->outputs;
  for (size_t row = 0; row < rows; row++)
    for (size_t output = 0; output < layer->outputs; output++)
      y[row * layer->outputs + output] = layer->bias[output];
  cblas_sgemm(
    CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)layer->outputs, (int)layer->inputs, 1,
    layer->x + first * layer->inputs, (int)layer->inputs, layer->weight, (int)layer->inputs, 1, y,
    (int)layer->outputs);
}

static double seconds(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

typedef struct half {
  const layer *layer;
  work *work;
} half;

static void *run_half(void *context) {
  const half *half = context;
  half->work(half->layer, row_count / 2, row_count / 2);
  return NULL;
}

static double least_seconds(const layer *layer, work *work, int threads) {
  clockid_t clock = threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
  double least = 1e9, begin = seconds(clock);
  for (int count = 0; count < 20 || seconds(clock) - begin < 0.4; count++) {
    double start = seconds(clock);
    if (threads == 1) {
      work(layer, 0, row_count);
    } else {
      half other = {layer, work};
      pthread_t thread;
      if (pthread_create(&thread, NULL, run_half, &other) != 0) abort();
      work(layer, 0, row_count / 2);
      pthread_join(thread, NULL);
    }
    double taken = seconds(clock) - start;
    if (taken < least) least = taken;
  }
  return least;
}

static float *random_floats(size_t count) {
  float *values = malloc(count * sizeof *values);
  if (values == NULL) abort();
  for (size_t index = 0; index < count; index++)
    values[index] = (float)(rand() % 65536) / 32768 - 1;
  return values;
}

// Inputs have bounds of their own or, where `group_size` is not 0, of groups.
static ck_integer_linear *integer_layer(
  const layer *layer, unsigned bits, size_t group_size) {
  uint8_t *codes = malloc(layer->inputs * layer->outputs);
  float *lower = random_floats(layer->outputs), *scale = random_floats(layer->outputs);
  if (codes == NULL) abort();
  for (size_t index = 0; index < layer->inputs * layer->outputs; index++)
    codes[index] = (uint8_t)(rand() % (1 << bits));
  ck_quantizer quantizer = {
    .lower = -0.9f, .upper = 0.9f, .levels = (float)((1 << bits) - 1), .group_size = group_size};
  ck_integer_linear *integer = ck_integer_linear_create(
    codes, bits, lower, scale, layer->bias, layer->outputs, layer->inputs, &quantizer);
  free(codes), free(lower), free(scale);
  if (integer == NULL) abort();
  return integer;
}

int main(int count, char **arguments) {
  int most_threads = count > 1 ? atoi(arguments[1]) : 1;
  const size_t shapes[][2] = {
    {60, 180}, {60, 60}, {60, 120}, {120, 60}, {180, 540}, {180, 180}, {180, 360}, {360, 180}};
  openblas_set_num_threads(1);
  for (size_t index = 0; index < sizeof shapes / sizeof *shapes; index++) {
    layer layer = {.inputs = shapes[index][0], .outputs = shapes[index][1]};
    float *x = random_floats(row_count * layer.inputs);
    float *weight = random_floats(layer.inputs * layer.outputs);
    float *bias = random_floats(layer.outputs);
    layer.x = x, layer.weight = weight, layer.bias = bias;
    layer.y = random_floats(row_count * layer.outputs);
    layer.copy = random_floats(row_count * layer.inputs);
    layer.linear = ck_linear_create(weight, bias, layer.outputs, layer.inputs);
    if (layer.linear == NULL) abort();
    printf(
      "{\"level\": \"%s\", \"inputs\": %zu, \"outputs\": %zu",
      ck_vector_level_name(ck_default_vector_level()),
      layer.inputs, layer.outputs);
    for (int threads = 1; threads <= most_threads; threads++) {
      printf(", \"float_%d\": %.9f", threads, least_seconds(&layer, run_linear, threads));
      printf(", \"openblas_%d\": %.9f", threads, least_seconds(&layer, run_blas, threads));
      printf(", \"simulated_%d\": %.9f", threads, least_seconds(&layer, run_simulated, threads));
      for (unsigned bits = 2; bits <= 4; bits++) {
        for (size_t group_size = 0; group_size <= 16; group_size += 16) {
          layer.integer = integer_layer(&layer, bits, group_size);
          printf(
            ", \"%s%u_%d\": %.9f", group_size == 0 ? "codes" : "groups", bits, threads,
            least_seconds(&layer, run_integer, threads));
          ck_integer_linear_destroy(layer.integer);
        }
      }
    }
    printf("}\n");
    fflush(stdout);
    ck_linear_destroy(layer.linear);
    free(x), free(weight), free(bias), free(layer.y), free(layer.copy);
  }
}
