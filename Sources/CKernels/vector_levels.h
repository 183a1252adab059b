// The kernels of each vector level, and which of them run.

#ifndef CK_VECTOR_LEVELS_H
#define CK_VECTOR_LEVELS_H

#include "affine_codes.h"
#include "derivatives.h"
#include "integer_weights.h"
#include "kernel_table.h"

typedef struct ck_level {
  const ck_kernel_table *kernels;
  const ck_affine_table *affine;
  const ck_derivative_table *derivatives;
  ck_integer_kernel *integer;
} ck_level;

// The kernels of the current thread's level.
const ck_level *ck_current_level(void);

// Makes levels that the processor lacks available to `ck_set_thread_vector_level`, for tests: kernels of
// AVX-512 without VNNI and with it, whose instructions are computed by others. What the processor has
// stays as it is, and so does what runs by default. Does nothing without AVX2, which emulation uses.
// To be called before other threads run.
void ck_emulate_avx512(const ck_level *avx512, const ck_level *vnni);

#endif
