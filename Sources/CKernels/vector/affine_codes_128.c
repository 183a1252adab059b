// For the baseline vector units of the architecture.

#if defined(__x86_64__) || defined(__aarch64__)

#define CK_WIDTH 4
#define CK_TABLE ck_affine_128
#include "affine_codes.h"

#endif
