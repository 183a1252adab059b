// For the baseline vector units of the architecture.

#if defined(__x86_64__) || defined(__aarch64__)

#define CK_WIDTH 4
#define CK_TABLE ck_symmetric_128
#include "symmetric_products.h"

#endif
