// Vectors of CK_WIDTH floats. This file and its neighbours are compiled once per vector level, by a
// source file for each CK_WIDTH that names the instructions the compiler may use.

#ifndef CK_WIDTH
#error "define CK_WIDTH, the count of floats in a vector"
#endif

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "../approximations.h"
#include "../kernel_table.h"
#include "../row_coding.h"
#include "../winograd.h"

// Fused operations are requested individually, so that the result of an element does not depend on
// the surrounding code.
#pragma STDC FP_CONTRACT OFF

#define CK_INLINE static inline __attribute__((always_inline))

typedef float vector __attribute__((ext_vector_type(CK_WIDTH)));
typedef int int_vector __attribute__((ext_vector_type(CK_WIDTH)));
typedef float unaligned_vector
  __attribute__((ext_vector_type(CK_WIDTH), aligned(4), may_alias));

CK_INLINE vector load(const float *x) { return *(const unaligned_vector *)x; }

CK_INLINE void store(float *x, vector value) { *(unaligned_vector *)x = value; }

CK_INLINE vector splat(float x) { return (vector)x; }

// Returns a mask of the places before `count`.
CK_INLINE int_vector places_before(size_t count) {
#if CK_WIDTH == 16
  const int_vector places = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif CK_WIDTH == 8
  const int_vector places = {0, 1, 2, 3, 4, 5, 6, 7};
#else
  const int_vector places = {0, 1, 2, 3};
#endif
  return places < (int_vector)(int)count;
}

// Loads the first `count` elements, fewer than a vector; the others are zero.
CK_INLINE vector load_first(const float *x, size_t count) {
#if CK_WIDTH == 16 && !defined(CK_EMULATE_AVX512)
  return (vector)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), x);
#elif CK_WIDTH == 8
  return (vector)_mm256_maskload_ps(x, (__m256i)places_before(count));
#else
  vector value = splat(0);
  memcpy(&value, x, count * sizeof *x);
  return value;
#endif
}

// Loads the vector `index` of `count` elements; those beyond are zero.
CK_INLINE vector load_part(const float *x, int index, size_t count) {
  size_t first = (size_t)index * CK_WIDTH;
  if (first + CK_WIDTH <= count) return load(x + first);
  return first < count ? load_first(x + first, count - first) : splat(0);
}

CK_INLINE void store_first(float *x, vector value, size_t count) {
#if CK_WIDTH == 16 && !defined(CK_EMULATE_AVX512)
  _mm512_mask_storeu_ps(x, (__mmask16)((1u << count) - 1), (__m512)value);
#elif CK_WIDTH == 8
  _mm256_maskstore_ps(x, (__m256i)places_before(count), (__m256)value);
#else
  memcpy(x, &value, count * sizeof *x);
#endif
}

// Returns a · b + c, rounded once if the processor can.
CK_INLINE vector fused(vector a, vector b, vector c) {
#if CK_WIDTH == 4 && defined(__x86_64__)
  return a * b + c;
#else
  return __builtin_elementwise_fma(a, b, c);
#endif
}

// Returns the larger of both, or `b` if either is NaN.
CK_INLINE vector larger(vector a, vector b) { return a > b ? a : b; }

CK_INLINE vector smaller(vector a, vector b) { return a < b ? a : b; }

// As ck_normalizing_factor.
CK_INLINE vector normalizing_factor(vector sum, vector other) {
  return sum >= splat(CK_LEAST_ROW_MAGNITUDE) ? splat(1) / sum : other;
}

// Adds halves until one element is left.
CK_INLINE float sum_of(vector x) {
#if CK_WIDTH == 16
  __auto_type half = x.lo + x.hi;
  __auto_type quarter = half.lo + half.hi;
#elif CK_WIDTH == 8
  __auto_type quarter = x.lo + x.hi;
#else
  vector quarter = x;
#endif
  __auto_type pair = quarter.lo + quarter.hi;
  return pair.x + pair.y;
}

// Returns the largest element; there must be no NaN.
CK_INLINE float largest_of(vector x) {
#if CK_WIDTH == 16
  __auto_type half = x.lo > x.hi ? x.lo : x.hi;
  __auto_type quarter = half.lo > half.hi ? half.lo : half.hi;
#elif CK_WIDTH == 8
  __auto_type quarter = x.lo > x.hi ? x.lo : x.hi;
#else
  vector quarter = x;
#endif
  __auto_type pair = quarter.lo > quarter.hi ? quarter.lo : quarter.hi;
  return pair.x > pair.y ? pair.x : pair.y;
}

// Returns the same as `ck_row_magnitude`.
CK_INLINE float largest_magnitude(const float *x, size_t count) {
  vector largest = splat(0);
  size_t index = 0;
  for (; index + CK_WIDTH <= count; index += CK_WIDTH)
    largest = larger(__builtin_elementwise_abs(load(x + index)), largest);
  if (index < count)
    largest = larger(__builtin_elementwise_abs(load_first(x + index, count - index)), largest);
  float found = largest_of(largest);
  return found < CK_LEAST_ROW_MAGNITUDE ? 0 : found;
}

// Returns the smallest element; there must be no NaN.
CK_INLINE float least_of(vector x) {
#if CK_WIDTH == 16
  __auto_type half = x.lo < x.hi ? x.lo : x.hi;
  __auto_type quarter = half.lo < half.hi ? half.lo : half.hi;
#elif CK_WIDTH == 8
  __auto_type quarter = x.lo < x.hi ? x.lo : x.hi;
#else
  vector quarter = x;
#endif
  __auto_type pair = quarter.lo < quarter.hi ? quarter.lo : quarter.hi;
  return pair.x < pair.y ? pair.x : pair.y;
}

// Returns the same as `ck_range_of`.
CK_INLINE ck_range range_of(const float *x, size_t count) {
  vector least = splat(INFINITY), greatest = splat(-INFINITY);
  size_t index = 0;
  for (; index + CK_WIDTH <= count; index += CK_WIDTH) {
    vector elements = load(x + index);
    least = smaller(elements, least);
    greatest = larger(elements, greatest);
  }
  if (index < count) {
    int_vector is_there = places_before(count - index);
    vector elements = load_first(x + index, count - index);
    least = smaller(is_there ? elements : splat(INFINITY), least);
    greatest = larger(is_there ? elements : splat(-INFINITY), greatest);
  }
  return (ck_range){least_of(least), largest_of(greatest)};
}

// The exponential with a relative error of at most 2e-7 between −87.3 and 88.3. It is zero below,
// and above has its value at 88.3.
//
// 2ⁿ eʳ with |r| ≤ ln 2 / 2, and eʳ = 1 + r + r² p(r) with p fitted for the least relative error.
CK_INLINE vector exponential(vector x) {
  const vector lowest = splat(-87.3f), highest = splat(88.3f);
  vector clipped = x < lowest ? lowest : x > highest ? highest : x;
  // The low bits of `shifted` are n: it is too large for fractional bits.
  vector shifted = fused(clipped, splat(1.44269504f), splat(0x1.8p23f));
  vector n = shifted - splat(0x1.8p23f);
  vector r = fused(n, splat(-0.693145752f), clipped);
  r = fused(n, splat(-1.42860677e-6f), r);
  vector p = fused(splat(0x1.106280p-7f), r, splat(0x1.572a0ap-5f));
  p = fused(p, r, splat(0x1.5557aep-3f));
  p = fused(p, r, splat(0x1.fffdfcp-2f));
  p = fused(p, r, splat(1));
  p = fused(p, r, splat(1));
  int_vector exponent = (__builtin_bit_cast(int_vector, shifted) + 127) << 23;
  vector result = p * __builtin_bit_cast(vector, exponent);
  return x < lowest ? splat(0) : result;
}

CK_INLINE vector sigmoid_of(vector x) { return splat(1) / (splat(1) + exponential(-x)); }

CK_INLINE vector silu_of(vector x) { return x * sigmoid_of(x); }

// tanh(ln(1 + n)) = (n² + 2 n) / (n² + 2 n + 2), which is 1 long before n = e⁴⁰.
CK_INLINE vector mish_of(vector x) {
  vector n = exponential(x < splat(40) ? x : splat(40)), t = n * (n + splat(2));
  return x * (t / (t + splat(2)));
}

// Φ(x) = ½ + x p(t), t = 2 x² / limit² − 1, for |x| < limit, about 1 above and 0 below. `coefficients` are
// those of p from the highest power on.
CK_INLINE vector distribution_by(
  vector x, float limit, int count, const float *coefficients) {
  // Below −limit, what is computed does not count.
  vector clipped = smaller(x, splat(limit));
  vector t = fused(clipped * clipped, splat(2 / (limit * limit)), splat(-1));
  vector p = splat(coefficients[0]);
#pragma clang loop unroll(full)
  for (int index = 1; index < count; index++) p = fused(p, t, splat(coefficients[index]));
  return x < splat(-limit) ? splat(0) : fused(p, clipped, splat(0.5f));
}

CK_INLINE vector distribution_of(vector x) {
  static const float coefficients[] = {CK_DISTRIBUTION};
  return distribution_by(x, CK_DISTRIBUTION_LIMIT, 13, coefficients);
}

CK_INLINE vector gelu_of(vector x) { return x * distribution_of(x); }

// GELU with an error of at most 3e-5 · max(1, |x|), for codes.
CK_INLINE vector coarse_gelu_of(vector x) {
  static const float coefficients[] = {CK_COARSE_DISTRIBUTION};
  return x * distribution_by(x, CK_COARSE_DISTRIBUTION_LIMIT, 9, coefficients);
}

// Returns whether a comparison holds at any place.
CK_INLINE bool is_any(int_vector places) {
#if CK_WIDTH == 16
  return _mm512_movepi32_mask((__m512i)places) != 0;
#elif CK_WIDTH == 8
  return _mm256_movemask_ps((__m256)places) != 0;
#else
  return (places.x | places.y | places.z | places.w) != 0;
#endif
}

// Returns 1 / divisor for `quotient_of`, or NaN for a divisor whose products may underflow or overflow.
CK_INLINE float reciprocal_of(float divisor) {
  return divisor >= 0x1p-90f && divisor <= 0x1p90f ? 1 / divisor : NAN;
}

// Returns x / divisor, rounded as division rounds it, for 0 ≤ x < 2²⁴ · divisor.
//
// One step of Newton's method from the product with the reciprocal, with an exact remainder: Markstein,
// "Computation of elementary functions on the IBM RISC System/6000 processor", theorem 7.
CK_INLINE vector quotient_of(vector x, float divisor, float reciprocal) {
#if CK_WIDTH == 4 && defined(__x86_64__)
  (void)reciprocal;
  return x / splat(divisor);
#else
  if (reciprocal != reciprocal) return x / splat(divisor);
  vector quotient = x * splat(reciprocal);
  return fused(fused(-quotient, splat(divisor), x), splat(reciprocal), quotient);
#endif
}

// Returns the code of each element, round((clip(x) − lower) / scale), plus 1.5 · 2²³, so that the
// low bits of the float are those of the code.
//
// `reciprocal` is that of the scale, as `reciprocal_of` returns it.
CK_INLINE vector shifted_codes(vector x, ck_row_coding coding, float reciprocal) {
  // In this order, NaN stays NaN.
  vector lower = splat(coding.lower), clipped = smaller(splat(coding.upper), larger(lower, x));
  return quotient_of(clipped - lower, coding.scale, reciprocal) + splat(0x1.8p23f);
}

CK_INLINE vector quantized(vector x, ck_row_coding coding, float reciprocal) {
  vector codes = shifted_codes(x, coding, reciprocal) - splat(0x1.8p23f);
  return codes * splat(coding.scale) + splat(coding.lower);
}
