// The affine code kernels that have a version for each vector level.

#ifndef CK_AFFINE_CODES_TABLE_H
#define CK_AFFINE_CODES_TABLE_H

#include <stdbool.h>

#include "include/affine_codes.h"

enum { ck_cost_lanes = 16 };

// The partial sums of `ck_affine_cost`.
typedef struct ck_cost_sums {
  double signal[ck_cost_lanes];
  double noise[ck_cost_lanes];
  double largest_error;
  size_t clipped;
} ck_cost_sums;

typedef struct ck_affine_table {
  void (*widen)(ck_element type, const void *elements, size_t count, float *values);
  // Returns whether all values are finite. If the smallest value is zero, its sign is unspecified.
  bool (*extremes)(const float *values, size_t count, float *least, float *largest);
  // Requires a positive scale and a multiple of `ck_cost_lanes` values.
  void (*encode)(
    const ck_affine_code *code, const float *values, size_t count, uint8_t *codes,
    ck_cost_sums *sums);
  void (*group_bounds)(const ck_groups *groups, float *room, float *lower, float *scale);
  void (*group_codes)(
    const ck_groups *groups, const float *units, float *room, float *lower, float *scale);
} ck_affine_table;

// Returns `value` rounded to `type`. It must be within the type's range.
float ck_rounded(float value, ck_element type);

#define CK_AFFINE_TABLE \
  {.widen = widen, .extremes = extremes, .encode = encode, .group_bounds = group_bounds, \
   .group_codes = group_codes}

extern const ck_affine_table ck_affine_scalar;
extern const ck_affine_table ck_affine_128;
extern const ck_affine_table ck_affine_256;
extern const ck_affine_table ck_affine_512;

#endif
