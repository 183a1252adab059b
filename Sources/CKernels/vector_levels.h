// The kernels of each vector level, and the selection of the current level.

#ifndef CK_VECTOR_LEVELS_H
#define CK_VECTOR_LEVELS_H

#include "affine_codes.h"
#include "bulge_chasing.h"
#include "derivatives.h"
#include "integer_weights.h"
#include "kernel_table.h"
#include "symmetric_products.h"

typedef struct ck_level {
  const ck_kernel_table *kernels;
  const ck_affine_table *affine;
  const ck_derivative_table *derivatives;
  const ck_integer_table *integer;
  const ck_symmetric_table *symmetric;
  const ck_bulge_table *bulge;
} ck_level;

// Returns the kernels of the current thread's level.
const ck_level *ck_current_level(void);

// Makes levels that the processor lacks available to `ck_set_thread_vector_level`, for tests:
// AVX-512 kernels without and with VNNI, whose instructions are emulated. The processor's own
// levels and the default level do not change. Does nothing without AVX2, which the emulation
// requires. Call this before other threads run.
void ck_emulate_avx512(const ck_level *avx512, const ck_level *vnni);

#endif
