// The moments of rows.

#include "../scalar_moments.h"

CK_INLINE ck_moments moments_of(const float *x, size_t columns, float epsilon) {
  size_t whole = columns / CK_WIDTH * CK_WIDTH, rest = columns - whole;
  float share = 1 / (float)columns;
  vector sum = rest == 0 ? splat(0) : load_first(x + whole, rest);
  for (size_t column = 0; column < whole; column += CK_WIDTH) sum += load(x + column);
  vector mean = splat(sum_of(sum) * share);
  vector square_sum = splat(0);
  for (size_t column = 0; column < whole; column += CK_WIDTH) {
    vector difference = load(x + column) - mean;
    square_sum = fused(difference, difference, square_sum);
  }
  if (rest != 0) {
    vector difference = load_first(x + whole, rest) - mean;
    difference = places_before(rest) ? difference : splat(0);
    square_sum = fused(difference, difference, square_sum);
  }
  return (ck_moments){mean[0], 1 / sqrtf(sum_of(square_sum) * share + epsilon)};
}
