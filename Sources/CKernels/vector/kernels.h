// All kernels for vectors of CK_WIDTH floats, and their table, CK_TABLE.

#include "arithmetic.h"
#include "epilogue.h"
#include "products.h"
#include "winograd.h"
#include "depthwise.h"
#include "rows.h"
#include "attention.h"

const ck_kernel_table CK_TABLE = CK_KERNEL_TABLE;
