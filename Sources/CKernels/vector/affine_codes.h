// Affine codes in vectors of CK_WIDTH floats.

#include "../affine_codes.h"
#include "arithmetic.h"
#include "group_bounds.h"

#define CK_HALF (CK_WIDTH / 2)

typedef double half_of_doubles __attribute__((ext_vector_type(CK_HALF)));
typedef double unaligned_doubles
  __attribute__((ext_vector_type(CK_HALF), aligned(8), may_alias));
typedef unsigned unsigned_vector __attribute__((ext_vector_type(CK_WIDTH)));
typedef unsigned short short_vector __attribute__((ext_vector_type(CK_WIDTH)));
typedef unsigned char byte_vector __attribute__((ext_vector_type(CK_WIDTH)));

CK_INLINE vector magnitude_of(vector x) {
  return __builtin_bit_cast(
    vector, __builtin_bit_cast(unsigned_vector, x) & (unsigned_vector)0x7FFFFFFFu);
}

// MARK: Elements of files

CK_INLINE vector widened_halves(short_vector halves) {
  unsigned_vector bits = __builtin_convertvector(halves, unsigned_vector);
  unsigned_vector magnitude = (bits & 0x7FFF) << 13;
  // A product corrects the exponent's offset, which is also right for subnormal numbers.
  vector scaled = __builtin_bit_cast(vector, magnitude) * splat(0x1p112f);
  unsigned_vector result = __builtin_bit_cast(unsigned_vector, scaled);
  unsigned_vector special = (unsigned_vector)(magnitude >= 0x0F800000u);
  result |= special & 0x7F800000u;
  return __builtin_bit_cast(vector, result | (bits & 0x8000) << 16);
}

static void widen(ck_element type, const void *elements, size_t count, float *values) {
  const unsigned char *bytes = elements;
  size_t index = 0;
  switch (type) {
    case CK_ELEMENT_FLOAT32:
      memcpy(values, elements, 4 * count);
      return;
    case CK_ELEMENT_FLOAT16:
      for (; index + CK_WIDTH <= count; index += CK_WIDTH) {
        short_vector halves;
        memcpy(&halves, bytes + 2 * index, sizeof halves);
        store(values + index, widened_halves(halves));
      }
      break;
    case CK_ELEMENT_BFLOAT16:
      for (; index + CK_WIDTH <= count; index += CK_WIDTH) {
        short_vector halves;
        memcpy(&halves, bytes + 2 * index, sizeof halves);
        unsigned_vector bits = __builtin_convertvector(halves, unsigned_vector) << 16;
        store(values + index, __builtin_bit_cast(vector, bits));
      }
      break;
    case CK_ELEMENT_FLOAT64:
      break;
  }
  size_t width = type == CK_ELEMENT_FLOAT64 ? 8 : 2;
  ck_affine_scalar.widen(type, bytes + width * index, count - index, values + index);
}

// MARK: Extremes

static bool extremes(const float *values, size_t count, float *least, float *largest) {
  vector low[4], high[4], odd[4];
  for (int part = 0; part < 4; part++) {
    low[part] = high[part] = splat(values[0]);
    odd[part] = splat(0);
  }
  size_t index = 0;
  for (; index + 4 * CK_WIDTH <= count; index += 4 * CK_WIDTH) {
#pragma clang loop unroll(full)
    for (int part = 0; part < 4; part++) {
      vector value = load(values + index + (size_t)part * CK_WIDTH);
      low[part] = smaller(value, low[part]);
      high[part] = larger(value, high[part]);
      // Zero for finite values, otherwise NaN.
      odd[part] += value * splat(0);
    }
  }
  low[0] = smaller(smaller(low[0], low[1]), smaller(low[2], low[3]));
  high[0] = larger(larger(high[0], high[1]), larger(high[2], high[3]));
  vector sum = (odd[0] + odd[1]) + (odd[2] + odd[3]);
  bool is_finite = !is_any(sum != splat(0));
  *least = -largest_of(-low[0]);
  *largest = largest_of(high[0]);
  if (index < count) {
    float rest_least, rest_largest;
    is_finite &=
      ck_affine_scalar.extremes(values + index, count - index, &rest_least, &rest_largest);
    if (rest_least < *least) *least = rest_least;
    if (rest_largest > *largest) *largest = rest_largest;
  }
  return is_finite;
}

// MARK: Codes

CK_INLINE vector rounded_to(vector x, ck_element type) {
  unsigned_vector bits = __builtin_bit_cast(unsigned_vector, x);
  if (type == CK_ELEMENT_BFLOAT16)
    return __builtin_bit_cast(vector, (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000u);
  if (type != CK_ELEMENT_FLOAT16) return x;
  vector magnitude = magnitude_of(x);
  vector small = (magnitude + splat(0.5f)) - splat(0.5f);
  unsigned_vector small_bits =
    __builtin_bit_cast(unsigned_vector, small) | (bits & 0x80000000u);
  unsigned_vector large_bits = (bits + 0xFFF + (bits >> 13 & 1)) & 0xFFFFE000u;
  int_vector is_small = magnitude < splat(0x1p-14f);
  return is_small ? __builtin_bit_cast(vector, small_bits) : __builtin_bit_cast(vector, large_bits);
}

CK_INLINE half_of_doubles absolute(half_of_doubles x) { return x < 0 ? -x : x; }

CK_INLINE void encode_as(
  ck_element type, const ck_affine_code *code, const float *values, size_t count, uint8_t *codes,
  ck_cost_sums *sums) {
  enum { parts = ck_cost_lanes / CK_HALF };
  vector lower = splat(code->lower), scale = splat(code->scale);
  float highest_code = (float)((1u << code->bits) - 1);
  vector highest = splat(highest_code), beyond = splat(highest_code + 0.5f);
  half_of_doubles signal[parts], noise[parts], largest[parts];
  int_vector clipped_count = 0;
#pragma clang loop unroll(full)
  for (int part = 0; part < parts; part++) {
    signal[part] = *(const unaligned_doubles *)(sums->signal + part * CK_HALF);
    noise[part] = *(const unaligned_doubles *)(sums->noise + part * CK_HALF);
    largest[part] = (half_of_doubles)sums->largest_error;
  }
  for (size_t index = 0; index < count; index += ck_cost_lanes) {
#pragma clang loop unroll(full)
    for (int part = 0; part < parts; part += 2) {
      size_t place = index + (size_t)part * CK_HALF;
      vector value = load(values + place);
      vector quotient = (value - lower) / scale;
      vector clipped = quotient < splat(0) ? splat(0) : quotient > highest ? highest : quotient;
      // The low bits of a float near 1.5 · 2²³ are those of an integer.
      vector shifted = clipped + splat(0x1.8p23f);
      byte_vector bytes = __builtin_convertvector(
        __builtin_bit_cast(unsigned_vector, shifted) & 0xFF, byte_vector);
      memcpy(codes + place, &bytes, CK_WIDTH);
      vector product = scale * (shifted - splat(0x1.8p23f));
      vector decoded = rounded_to(lower + product, type);
      clipped_count -= (quotient < splat(-0.5f)) | (quotient >= beyond);
      half_of_doubles low = __builtin_convertvector(value.lo, half_of_doubles);
      half_of_doubles high = __builtin_convertvector(value.hi, half_of_doubles);
      half_of_doubles low_error =
        absolute(low - __builtin_convertvector(decoded.lo, half_of_doubles));
      half_of_doubles high_error =
        absolute(high - __builtin_convertvector(decoded.hi, half_of_doubles));
      signal[part] += low * low;
      signal[part + 1] += high * high;
      noise[part] += low_error * low_error;
      noise[part + 1] += high_error * high_error;
      largest[part] = low_error > largest[part] ? low_error : largest[part];
      largest[part + 1] = high_error > largest[part + 1] ? high_error : largest[part + 1];
    }
  }
#pragma clang loop unroll(full)
  for (int part = 0; part < parts; part++) {
    *(unaligned_doubles *)(sums->signal + part * CK_HALF) = signal[part];
    *(unaligned_doubles *)(sums->noise + part * CK_HALF) = noise[part];
    for (int lane = 0; lane < CK_HALF; lane++)
      if (largest[part][lane] > sums->largest_error) sums->largest_error = largest[part][lane];
  }
  for (int lane = 0; lane < CK_WIDTH; lane++) sums->clipped += (size_t)clipped_count[lane];
}

static void encode(
  const ck_affine_code *code, const float *values, size_t count, uint8_t *codes,
  ck_cost_sums *sums) {
  switch (code->type) {
    case CK_ELEMENT_FLOAT16:
      encode_as(CK_ELEMENT_FLOAT16, code, values, count, codes, sums);
      return;
    case CK_ELEMENT_BFLOAT16:
      encode_as(CK_ELEMENT_BFLOAT16, code, values, count, codes, sums);
      return;
    default: encode_as(CK_ELEMENT_FLOAT32, code, values, count, codes, sums);
  }
}

const ck_affine_table CK_TABLE = CK_AFFINE_TABLE;
