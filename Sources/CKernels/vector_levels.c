#include "vector_levels.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { level_unknown = -1 };

static _Atomic int default_level = level_unknown;
static _Thread_local int thread_level = level_unknown;
// The highest emulated level; below every level if there is none.
static int emulated_level = level_unknown;

// Every level has all kernels; missing ones are those of the level below.
static ck_level levels[CK_VECTOR_LEVEL_COUNT] = {
  [CK_VECTOR_SCALAR] = {
    &ck_scalar_kernels, &ck_affine_scalar, &ck_scalar_derivatives, &ck_integer_scalar,
    &ck_symmetric_scalar, &ck_bulge_scalar},
#if defined(__x86_64__) || defined(__aarch64__)
  [CK_VECTOR_128] = {
    &ck_kernels_128, &ck_affine_128, &ck_derivatives_128, &ck_integer_scalar,
    &ck_symmetric_128, &ck_bulge_128},
#endif
#if defined(__x86_64__)
  [CK_VECTOR_AVX2] = {
    &ck_kernels_256, &ck_affine_256, &ck_derivatives_256, &ck_integer_256,
    &ck_symmetric_256, &ck_bulge_256},
  [CK_VECTOR_AVX512] = {
    &ck_kernels_512, &ck_affine_512, &ck_derivatives_512, &ck_integer_256,
    &ck_symmetric_512, &ck_bulge_512},
  [CK_VECTOR_AVX512_VNNI] = {
    &ck_kernels_512, &ck_affine_512, &ck_derivatives_512, &ck_integer_512,
    &ck_symmetric_512, &ck_bulge_512},
#endif
};

static const char *const names[CK_VECTOR_LEVEL_COUNT] = {
  [CK_VECTOR_SCALAR] = "scalar",
  [CK_VECTOR_128] = "128",
  [CK_VECTOR_AVX2] = "avx2",
  [CK_VECTOR_AVX512] = "avx512",
  [CK_VECTOR_AVX512_VNNI] = "avx512-vnni",
};

const char *ck_vector_level_name(ck_vector_level level) { return names[level]; }

ck_vector_level ck_processor_vector_level(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return CK_VECTOR_128;
  bool has_512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
    __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  if (!has_512) return CK_VECTOR_AVX2;
  return __builtin_cpu_supports("avx512vnni") ? CK_VECTOR_AVX512_VNNI : CK_VECTOR_AVX512;
#elif defined(__aarch64__)
  return CK_VECTOR_128;
#else
  return CK_VECTOR_SCALAR;
#endif
}

bool ck_find_vector_level(const char *name, ck_vector_level *level) {
  for (int index = 0; index <= (int)ck_processor_vector_level(); index++)
    if (strcmp(name, names[index]) == 0) {
      *level = (ck_vector_level)index;
      return true;
    }
  return false;
}

ck_vector_level ck_default_vector_level(void) {
  int level = atomic_load_explicit(&default_level, memory_order_relaxed);
  if (level == level_unknown) {
    // Concurrent threads find the same level.
    ck_vector_level found = ck_processor_vector_level();
    const char *name = getenv("CONDI_VECTOR_LEVEL");
    if (name != NULL) ck_find_vector_level(name, &found);
    level = (int)found;
    atomic_store_explicit(&default_level, level, memory_order_relaxed);
  }
  return (ck_vector_level)level;
}

ck_vector_level ck_highest_vector_level(void) {
  int level = (int)ck_default_vector_level();
  return (ck_vector_level)(level > emulated_level ? level : emulated_level);
}

ck_vector_level ck_current_vector_level(void) {
  if (thread_level == level_unknown) return ck_default_vector_level();
  int highest = (int)ck_highest_vector_level();
  return (ck_vector_level)(thread_level > highest ? highest : thread_level);
}

void ck_set_thread_vector_level(ck_vector_level level) { thread_level = (int)level; }

void ck_reset_thread_vector_level(void) { thread_level = level_unknown; }

const ck_level *ck_current_level(void) { return &levels[ck_current_vector_level()]; }

void ck_emulate_avx512(const ck_level *avx512, const ck_level *vnni) {
  ck_vector_level processor = ck_processor_vector_level();
  if (processor < CK_VECTOR_AVX2) return;
  if (processor < CK_VECTOR_AVX512) levels[CK_VECTOR_AVX512] = *avx512;
  if (processor < CK_VECTOR_AVX512_VNNI) levels[CK_VECTOR_AVX512_VNNI] = *vnni;
  emulated_level = CK_VECTOR_AVX512_VNNI;
}
