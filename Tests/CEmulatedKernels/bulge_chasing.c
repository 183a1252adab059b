#define CK_EMULATE_AVX512
#include "../../Sources/CKernels/vector/bulge_chasing_512.c"
