#include "emulated_kernels.h"

#include "../../Sources/CKernels/scalar_integer.h"

#if defined(__x86_64__)

#define CK_EMULATE_AVX512
#include "../../Sources/CKernels/vector/avx512.h"

#include "../../Sources/CKernels/vector_levels.h"

extern const ck_kernel_table ck_kernels_512_emulated;
extern const ck_affine_table ck_affine_512_emulated;
extern const ck_derivative_table ck_derivatives_512_emulated;
extern const ck_integer_table ck_integer_512_emulated;
extern const ck_symmetric_table ck_symmetric_512_emulated;
extern const ck_bulge_table ck_bulge_512_emulated;

void emulate_missing_vector_levels(void) {
  static const ck_level avx512 = {
    &ck_kernels_512_emulated, &ck_affine_512_emulated, &ck_derivatives_512_emulated,
    &ck_integer_256, &ck_symmetric_512_emulated,
    &ck_bulge_512_emulated};
  static const ck_level vnni = {
    &ck_kernels_512_emulated, &ck_affine_512_emulated, &ck_derivatives_512_emulated,
    &ck_integer_512_emulated, &ck_symmetric_512_emulated,
    &ck_bulge_512_emulated};
  ck_emulate_avx512(&avx512, &vnni);
}

#else

void emulate_missing_vector_levels(void) {}

#endif

float reference_power_of_two(float x) { return ck_power_of_two(x); }
