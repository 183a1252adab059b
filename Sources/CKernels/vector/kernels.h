// All kernels for vectors of CK_WIDTH floats, and their table, CK_TABLE.

#include "arithmetic.h"
#include "epilogue.h"
#include "products.h"
#include "depthwise.h"
#include "rows.h"
#include "attention.h"

const ck_kernel_table CK_TABLE = {
  .linear = linear,
  .convolution = convolution,
  .depthwise_convolution = depthwise_convolution,
  .layer_norm = layer_norm,
  .gelu = gelu,
  .sigmoid = sigmoid,
  .softmax = softmax,
  .quantize = quantize,
  .attention = attention,
};
