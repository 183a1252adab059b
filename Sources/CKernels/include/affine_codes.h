// Round-to-nearest kernels, which convert file elements to codes of a few bits.
//
// Results are bitwise identical at all levels, so that a file does not depend on the processor:
// each operation is a single float32 or float64 operation, rounded to nearest, and sums have a
// fixed order.

#ifndef CK_AFFINE_CODES_H
#define CK_AFFINE_CODES_H

#include <stddef.h>
#include <stdint.h>

// The element types that can be quantized.
typedef enum ck_element {
  CK_ELEMENT_FLOAT32,
  CK_ELEMENT_FLOAT16,
  CK_ELEMENT_BFLOAT16,
  CK_ELEMENT_FLOAT64,
} ck_element;

// Converts `count` little-endian elements, possibly unaligned, to float32, rounding to nearest.
void ck_widen(ck_element type, const void *elements, size_t count, float *values);

// Finds the smallest and largest of at least one value. Among equal values, the first is the
// smallest, which matters only for the sign of zero.
//
// Returns `count`, or the index of the first value that is not finite, in which case nothing is
// stored.
size_t ck_extremes(const float *values, size_t count, float *least, float *largest);

// Values `lower + scale · code` with codes of `bits` bits, 1 to 8, finally rounded to `type`.
typedef struct ck_affine_code {
  float lower;
  // Not negative; if it is zero, every code is 0.
  float scale;
  unsigned bits;
  ck_element type;
} ck_affine_code;

// The quantization error. Sums are in float64, in 16 partial sums over values with equal index
// modulo 16, which are then added in halves.
typedef struct ck_affine_cost {
  // Σ x².
  double signal;
  // Σ (x − x̂)².
  double noise;
  double largest_error;
  // The number of values whose nearest multiple of the scale lies outside the range of codes.
  size_t clipped;
} ck_affine_cost;

// codes[i] = clip(rint((values[i] − lower) / scale), 0, 2^bits − 1), ties to even, for finite
// values. The error is added to `cost`.
void ck_affine_encode(
  const ck_affine_code *code, const float *values, size_t count, uint8_t *codes,
  ck_affine_cost *cost);

// Groups of values that share a lower bound and a scale. Values are finite.
typedef struct ck_groups {
  const float *values;
  // The index of each group's first value.
  const size_t *starts;
  size_t count;
  // The number of values per group, at least 1.
  size_t size;
  // What an error of a column counts, not negative, for rows of `columns` values; NULL if all count
  // the same.
  const float *weights;
  size_t columns;
  // 1 to 8.
  unsigned bits;
} ck_groups;

// Codes of 6 bits for scales and lower bounds: under a row's unit u, the scale u · s and the lower
// bound u · 2^bits · l.
enum { CK_LARGEST_SCALE_CODE = 63, CK_LEAST_LOWER_CODE = -32, CK_LARGEST_LOWER_CODE = 31 };

// The number of floats of work space that the functions below need for each value of a group.
enum { CK_GROUP_ROOM = 32 };

// Finds bounds that nearly minimize the groups' weighted squared errors: the best of four starts,
// each followed by two rounds of least squares for the scale and the lower bound together. The scale
// is zero for groups of equal values.
void ck_group_bounds(const ck_groups *groups, float *room, float *lower, float *scale);

// Moves each group's bounds to the best place nearby that has codes under the group's unit. Groups
// of equal values, and those whose unit is zero, keep their lower bound and get a scale of zero.
void ck_group_codes(
  const ck_groups *groups, const float *units, float *room, float *lower, float *scale);

// Packs codes of `bits` bits, 1 to 8, stored one per byte, into a little-endian stream of
// ⌈count · bits / 8⌉ bytes, low bits first. Bits after the last code are zero.
void ck_pack_codes(const uint8_t *codes, size_t count, unsigned bits, uint8_t *stream);

#endif
