#define CK_EMULATE_AVX512
#include "../../Sources/CKernels/vector/integer_512.c"
