#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "clapacke.h"

// Returns OpenBLAS's name of the kernels for this processor, or null to leave the choice to it.
static const char *core_type(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return NULL;
  bool has_512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
    __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
    __builtin_cpu_supports("avx512dq");
  if (has_512) return "SkylakeX";
  return __builtin_cpu_is("amd") ? "Zen" : "Haswell";
#else
  return NULL;
#endif
}

// Loads OpenBLAS with one thread. Global, so that LAPACKE calls the LAPACK of OpenBLAS.
static void *open_openblas(void) {
  static const char name[] = "OPENBLAS_NUM_THREADS";
  const char *value = getenv(name);
  char *kept = value == NULL ? NULL : strdup(value);
  setenv(name, "1", true);
  void *library = dlopen("libopenblas.so.0", RTLD_LAZY | RTLD_GLOBAL);
  if (kept == NULL)
    unsetenv(name);
  else
    setenv(name, kept, true);
  free(kept);
  return library;
}

const clapacke_calls *clapacke_load(const char **problem) {
  static clapacke_calls calls;
  const char *type = core_type();
  if (type != NULL) setenv("OPENBLAS_CORETYPE", type, false);
  void *openblas = open_openblas();
  void *lapacke = openblas == NULL ? NULL : dlopen("liblapacke.so.3", RTLD_LAZY);
  if (lapacke == NULL) {
    *problem = dlerror();
    return NULL;
  }
#define LOOK_UP(library, name) \
  if ((calls.name = (__typeof__(calls.name))dlsym(library, #name)) == NULL) { \
    *problem = dlerror(); \
    return NULL; \
  }
#define LOOK_UP_OPENBLAS(name) LOOK_UP(openblas, name)
#define LOOK_UP_LAPACKE(name) LOOK_UP(lapacke, name)
  CLAPACKE_CBLAS(LOOK_UP_OPENBLAS)
  CLAPACKE_LAPACK(LOOK_UP_OPENBLAS)
  CLAPACKE_LAPACKE(LOOK_UP_LAPACKE)
  return &calls;
}
