// Kernels of rounding to nearest: elements of files to codes of a few bits.
//
// All levels give the same bits, so that a file depends on no processor: each operation is one in
// float32 or float64, rounded to nearest, and sums have a fixed order.

#ifndef CK_AFFINE_CODES_H
#define CK_AFFINE_CODES_H

#include <stddef.h>
#include <stdint.h>

// The types of elements that can be quantized.
typedef enum ck_element {
  CK_ELEMENT_FLOAT32,
  CK_ELEMENT_FLOAT16,
  CK_ELEMENT_BFLOAT16,
  CK_ELEMENT_FLOAT64,
} ck_element;

// Converts `count` little-endian elements, which need not be aligned, to float32, rounded to nearest.
void ck_widen(ck_element type, const void *elements, size_t count, float *values);

// The least and the largest of at least one value. Of equal values the least is the first, which
// matters to the sign of a zero alone.
//
// Returns `count`, or the index of the first value that is not finite; then nothing is stored.
size_t ck_extremes(const float *values, size_t count, float *least, float *largest);

// Values `lower + scale · code` with codes of `bits` bits, 1 to 8, and at last rounded to `type`.
typedef struct ck_affine_code {
  float lower;
  // Not negative; with zero every code is 0.
  float scale;
  unsigned bits;
  ck_element type;
} ck_affine_code;

// What the codes lose. Sums are of float64, in 16 parts over the values of equal index modulo 16,
// which are then added in halves.
typedef struct ck_affine_cost {
  // Σ x².
  double signal;
  // Σ (x − x̂)².
  double noise;
  double largest_error;
  // Values whose nearest multiple of the scale lies outside the range of codes.
  size_t clipped;
} ck_affine_cost;

// codes[i] = clip(rint((values[i] − lower) / scale), 0, 2^bits − 1), ties to even, for finite values.
// What that loses is added to `cost`.
void ck_affine_encode(
  const ck_affine_code *code, const float *values, size_t count, uint8_t *codes,
  ck_affine_cost *cost);

// Joins codes of `bits` bits, 1 to 8, one a byte, to a little-endian stream with low bits first, of
// ⌈count · bits / 8⌉ bytes. Bits after the last code are zero.
void ck_pack_codes(const uint8_t *codes, size_t count, unsigned bits, uint8_t *stream);

#endif
