// Parts of the reference for integer layers.

#ifndef CK_SCALAR_INTEGER_H
#define CK_SCALAR_INTEGER_H

#include <math.h>

#include "integer_weights.h"

// Returns the code of a value in steps; 0 for NaN.
static inline uint8_t ck_code_of(float steps, float largest) {
  float positive = steps > 0 ? steps : 0;
  return (uint8_t)rintf(positive < largest ? positive : largest);
}

void ck_scalar_integer_attention(
  const ck_integer_attention *attention, const ck_attention_scaling *scaling, const uint8_t *q,
  const uint8_t *k, const uint8_t *v, size_t stride, const float *bias, const float *mask,
  const ck_attention_target *target, float *scratch);

#endif
