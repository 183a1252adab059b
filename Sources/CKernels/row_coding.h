// How quantizers code the elements of a row.

#ifndef CK_ROW_CODING_H
#define CK_ROW_CODING_H

#include <math.h>

#include "ckernels.h"

// An element x becomes round((clip(x, lower, upper) − lower) / scale) · scale + lower.
typedef struct ck_row_coding {
  // What the quantizer's bounds are multiples of; 1 where they are the same for all rows.
  float magnitude;
  float lower;
  float upper;
  // Above zero and finite, or 1 where lower = upper.
  float scale;
} ck_row_coding;

// Where the steps between codes vanish, every number becomes `lower`; where bounds are too large for
// their difference, NaN.
static inline ck_row_coding ck_row_coding_of(const ck_quantizer *quantizer, float magnitude) {
  float lower = quantizer->lower * magnitude, upper = quantizer->upper * magnitude;
  float width = upper - lower, scale = width / quantizer->levels;
  if (scale > 0 && scale < INFINITY) return (ck_row_coding){magnitude, lower, upper, scale};
  float all = width < INFINITY ? lower : NAN;
  return (ck_row_coding){magnitude, all, all, 1};
}

#endif
