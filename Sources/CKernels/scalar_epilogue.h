// The operation applied to a sum before it is stored.

#ifndef CK_SCALAR_EPILOGUE_H
#define CK_SCALAR_EPILOGUE_H

#include <math.h>

#include "ckernels.h"

static inline float ck_gelu_of(float x) {
  return 0.5f * x * (1 + erff(x * 0.707106781f));
}

// `residual` is read only if it is added.
static inline float ck_finished(float x, ck_epilogue epilogue, const float *residual) {
  switch (epilogue) {
    case CK_EPILOGUE_NONE: return x;
    case CK_EPILOGUE_GELU: return ck_gelu_of(x);
    case CK_EPILOGUE_RELU: return x < 0 ? 0 : x;
    case CK_EPILOGUE_LEAKY_RELU: return x < 0 ? x * 0.01f : x;
    case CK_EPILOGUE_ADD: return x + *residual;
  }
  return x;
}

#endif
