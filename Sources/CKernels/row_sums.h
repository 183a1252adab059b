// Rows that are divided by their sums.

#ifndef CK_ROW_SUMS_H
#define CK_ROW_SUMS_H

#include <stddef.h>

#include "ckernels.h"

// Sums are those of every sixteenth element, added up at the end: the same bits everywhere.
enum { ck_sum_lanes = 16 };

static inline float ck_sum_of_lanes(const float *lanes) {
  float sum = 0;
  for (size_t lane = 0; lane < ck_sum_lanes; lane++) sum += lanes[lane];
  return sum;
}

// Returns the factor by which a row with this sum is multiplied to have a sum of 1; `other` if the sum is
// too small.
static inline float ck_normalizing_factor(float sum, float other) {
  return sum >= CK_LEAST_ROW_MAGNITUDE ? 1 / sum : other;
}

static inline void ck_normalize_rows(float *x, size_t rows, size_t columns, size_t stride) {
  for (size_t row = 0; row < rows; row++, x += stride) {
    float lanes[ck_sum_lanes] = {0};
    size_t column = 0;
    for (; column + ck_sum_lanes <= columns; column += ck_sum_lanes)
      for (size_t lane = 0; lane < ck_sum_lanes; lane++) lanes[lane] += x[column + lane];
    for (size_t lane = 0; column + lane < columns; lane++) lanes[lane] += x[column + lane];
    float factor = ck_normalizing_factor(ck_sum_of_lanes(lanes), 1);
    for (column = 0; column < columns; column++) x[column] *= factor;
  }
}

#endif
