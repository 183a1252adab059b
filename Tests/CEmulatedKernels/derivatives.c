#define CK_EMULATE_AVX512
#include "../../Sources/CKernels/vector/derivatives_512.c"
