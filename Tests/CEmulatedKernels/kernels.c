#define CK_EMULATE_AVX512
#include "../../Sources/CKernels/vector/kernels_512.c"
