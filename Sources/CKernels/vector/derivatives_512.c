// For AVX-512 F, VL, BW and DQ.

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#pragma clang attribute push( \
  __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma"))), apply_to = function)

#define CK_WIDTH 16
#define CK_TABLE ck_derivatives_512
#include "derivatives.h"

#pragma clang attribute pop

#endif
