// The reference: plain C, one element at a time.

#include <math.h>
#include <string.h>

#include "affine_codes.h"

#pragma STDC FP_CONTRACT OFF

static float bits_as_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static uint32_t float_as_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static float widened_half(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16;
  uint32_t exponent = half >> 10 & 0x1F, fraction = half & 0x3FF;
  if (exponent == 0x1F) return bits_as_float(sign | 0x7F800000 | fraction << 13);
  float magnitude =
    exponent == 0 ? ldexpf((float)fraction, -24)
                  : ldexpf((float)(fraction | 0x400), (int)exponent - 25);
  return sign ? -magnitude : magnitude;
}

static void widen(ck_element type, const void *elements, size_t count, float *values) {
  const unsigned char *bytes = elements;
  for (size_t index = 0; index < count; index++) {
    uint16_t half;
    double wide;
    switch (type) {
      case CK_ELEMENT_FLOAT32: memcpy(values + index, bytes + 4 * index, 4); break;
      case CK_ELEMENT_FLOAT16:
        memcpy(&half, bytes + 2 * index, 2);
        values[index] = widened_half(half);
        break;
      case CK_ELEMENT_BFLOAT16:
        memcpy(&half, bytes + 2 * index, 2);
        values[index] = bits_as_float((uint32_t)half << 16);
        break;
      case CK_ELEMENT_FLOAT64:
        memcpy(&wide, bytes + 8 * index, 8);
        values[index] = (float)wide;
        break;
    }
  }
}

static bool extremes(const float *values, size_t count, float *least, float *largest) {
  *least = *largest = values[0];
  for (size_t index = 0; index < count; index++) {
    float value = values[index];
    if (!isfinite(value)) return false;
    if (value < *least) *least = value;
    if (value > *largest) *largest = value;
  }
  return true;
}

float ck_rounded(float value, ck_element type) {
  uint32_t bits = float_as_bits(value), magnitude = bits & 0x7FFFFFFF;
  switch (type) {
    case CK_ELEMENT_FLOAT32:
    case CK_ELEMENT_FLOAT64: return value;
    case CK_ELEMENT_BFLOAT16:
      return bits_as_float((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000);
    case CK_ELEMENT_FLOAT16:
      // Below 2⁻¹⁴, float16 numbers are 2⁻²⁴ apart, like float32 numbers between ½ and 1.
      if (magnitude < 0x38800000)
        return copysignf((bits_as_float(magnitude) + 0.5f) - 0.5f, value);
      return bits_as_float((bits + 0xFFF + (bits >> 13 & 1)) & 0xFFFFE000);
  }
  return value;
}

static void encode(
  const ck_affine_code *code, const float *values, size_t count, uint8_t *codes,
  ck_cost_sums *sums) {
  float highest = (float)((1u << code->bits) - 1);
  for (size_t index = 0; index < count; index++) {
    float value = values[index];
    float quotient = (value - code->lower) / code->scale;
    float clipped = quotient < 0 ? 0 : quotient > highest ? highest : quotient;
    float whole = rintf(clipped);
    codes[index] = (uint8_t)whole;
    float product = code->scale * whole;
    float decoded = ck_rounded(code->lower + product, code->type);
    double error = fabs((double)value - (double)decoded);
    double square = (double)value * (double)value, lost = error * error;
    sums->signal[index % ck_cost_lanes] += square;
    sums->noise[index % ck_cost_lanes] += lost;
    if (error > sums->largest_error) sums->largest_error = error;
    // The highest code is odd, so half a step above it rounds to the next even number.
    sums->clipped += quotient < -0.5f || quotient >= highest + 0.5f;
  }
}

// One group at a time.
#define CK_WIDTH 1
#define CK_INLINE static inline
typedef float vector;
static inline float load(const float *x) { return *x; }
static inline void store(float *x, float value) { *x = value; }
static inline float splat(float x) { return x; }
static inline float larger(float a, float b) { return a > b ? a : b; }
static inline float smaller(float a, float b) { return a < b ? a : b; }
#include "vector/group_bounds.h"

const ck_affine_table ck_affine_scalar = CK_AFFINE_TABLE;
