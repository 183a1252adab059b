// Compiles sources for AVX-512, either natively or, with CK_EMULATE_AVX512, for processors without
// it by SIMDe's versions of the same instructions. Tests use the emulation.

#ifndef CK_AVX512_H
#define CK_AVX512_H

#include <immintrin.h>
#include <math.h>
#include <string.h>

#ifdef CK_EMULATE_AVX512
// Vectors are only passed to inlined functions.
#pragma clang diagnostic ignored "-Wpsabi"
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#define CK_AVX512 "avx2,fma"
#define CK_AVX512_VNNI CK_AVX512
#define CK_AVX512_NAME(name) name##_emulated
#else
#define CK_AVX512 "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma"
#define CK_AVX512_VNNI CK_AVX512 ",avx512vnni"
#define CK_AVX512_NAME(name) name
#endif

#endif
