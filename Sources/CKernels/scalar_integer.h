// Parts of the reference for integer layers.

#ifndef CK_SCALAR_INTEGER_H
#define CK_SCALAR_INTEGER_H

#include <math.h>

#include "approximations.h"
#include "integer_weights.h"

// Returns the code of a value in steps; 0 for NaN.
static inline uint8_t ck_code_of(float steps, float largest) {
  float positive = steps > 0 ? steps : 0;
  return (uint8_t)rintf(positive < largest ? positive : largest);
}

// 2ˣ for x ≤ 0, as `power_of_two` of vectors.
static inline float ck_power_of_two(float x) {
  float clipped = x < -126 ? -126 : x;
  float n = rintf(clipped), r = clipped - n;
  float p = fmaf(CK_POWER_4, r, CK_POWER_3);
  p = fmaf(p, r, CK_POWER_2);
  p = fmaf(p, r, CK_POWER_1);
  p = fmaf(p, r, 1);
  return ldexpf(p, (int)n);
}

void ck_scalar_integer_attention(
  const ck_integer_attention *attention, const ck_attention_scaling *scaling, const uint8_t *q,
  const uint8_t *k, const uint8_t *v, size_t stride, const float *bias, const float *mask,
  const ck_attention_target *target, float *scratch);

#endif
