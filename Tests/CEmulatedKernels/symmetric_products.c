#define CK_EMULATE_AVX512
#include "../../Sources/CKernels/vector/symmetric_products_512.c"
