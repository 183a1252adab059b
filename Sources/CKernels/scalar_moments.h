// The moments of rows, one element at a time.

#ifndef CK_SCALAR_MOMENTS_H
#define CK_SCALAR_MOMENTS_H

#include <math.h>
#include <stddef.h>

// What brings a row to zero mean and unit variance: (x − mean) · factor.
typedef struct ck_moments {
  float mean;
  float factor;
} ck_moments;

static inline ck_moments ck_moments_of(const float *x, size_t columns, float epsilon) {
  float sum = 0, square_sum = 0;
  for (size_t column = 0; column < columns; column++) sum += x[column];
  float mean = sum / (float)columns;
  for (size_t column = 0; column < columns; column++)
    square_sum += (x[column] - mean) * (x[column] - mean);
  return (ck_moments){mean, 1 / sqrtf(square_sum / (float)columns + epsilon)};
}

#endif
