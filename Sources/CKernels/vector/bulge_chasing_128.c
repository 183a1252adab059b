// For the baseline vector units of the architecture.

#if defined(__x86_64__) || defined(__aarch64__)

#include <string.h>

#define CK_WIDTH 4
#define CK_TABLE ck_bulge_128
#include "bulge_chasing.h"

#endif
