// For AVX2 with FMA.

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)

#define CK_WIDTH 8
#define CK_TABLE ck_bulge_256
#include "bulge_chasing.h"

#pragma clang attribute pop

#endif
