// The coding of a row's elements by a quantizer.

#ifndef CK_ROW_CODING_H
#define CK_ROW_CODING_H

#include <math.h>
#include <stdbool.h>

#include "ckernels.h"

// An element x becomes round((clip(x, lower, upper) − lower) / scale) · scale + lower.
typedef struct ck_row_coding {
  // The factor of the quantizer's bounds; 1 for absolute bounds and those of a group.
  float magnitude;
  float lower;
  float upper;
  // Positive and finite, or 1 if lower = upper.
  float scale;
} ck_row_coding;

// If the steps between codes underflow, every number becomes `lower`; if the bounds' difference
// overflows, NaN.
static inline ck_row_coding ck_row_coding_between(
  float lower, float upper, float levels, float magnitude) {
  float width = upper - lower, scale = width / levels;
  if (scale > 0 && scale < INFINITY) return (ck_row_coding){magnitude, lower, upper, scale};
  float all = width < INFINITY ? lower : NAN;
  return (ck_row_coding){magnitude, all, all, 1};
}

static inline ck_row_coding ck_row_coding_of(const ck_quantizer *quantizer, float magnitude) {
  return ck_row_coding_between(
    quantizer->lower * magnitude, quantizer->upper * magnitude, quantizer->levels, magnitude);
}

// Returns whether there is a whole number of levels, from 1 to `most`.
static inline bool ck_has_levels(float levels, float most) {
  return levels >= 1 && levels <= most && levels == rintf(levels);
}

// Returns whether the bounds are the same for all values.
static inline bool ck_has_equal_bounds(const ck_quantizer *quantizer) {
  return !quantizer->is_row_scaled && quantizer->group_size == 0;
}

// Returns the length of a group that starts `rest` elements before the end of the row.
static inline size_t ck_group_length(size_t rest, size_t group_size) {
  return rest < group_size ? rest : group_size;
}

// Returns whether the range is wide enough to quantize; narrower groups become a single value.
static inline bool ck_is_range(ck_range range) {
  return !(range.greatest - range.least < CK_LEAST_ROW_MAGNITUDE);
}

// Returns a group's bound, which is exactly the smallest or largest element for −1 and 1.
static inline float ck_group_bound(float bound, ck_range range) {
#pragma STDC FP_CONTRACT OFF  // the same bits everywhere
  float least = range.least * ((1 - bound) * 0.5f);
  return least + range.greatest * ((1 + bound) * 0.5f);
}

static inline ck_row_coding ck_group_coding_of(
  const ck_quantizer *quantizer, ck_range range) {
  if (!ck_is_range(range))
    return ck_row_coding_between(range.least, range.least, quantizer->levels, 1);
  return ck_row_coding_between(
    ck_group_bound(quantizer->lower, range), ck_group_bound(quantizer->upper, range),
    quantizer->levels, 1);
}

#endif
