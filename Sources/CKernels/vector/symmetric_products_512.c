// For AVX-512 F, VL, BW and DQ.

#if defined(__x86_64__)

#include "avx512.h"

#pragma clang attribute push(__attribute__((target(CK_AVX512))), apply_to = function)

#define CK_WIDTH 16
#define CK_TABLE CK_AVX512_NAME(ck_symmetric_512)
#include "symmetric_products.h"

#pragma clang attribute pop

#endif
