#define CK_EMULATE_AVX512
#include "../../Sources/CKernels/vector/affine_codes_512.c"
