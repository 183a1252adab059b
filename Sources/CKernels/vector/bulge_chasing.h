// Steps of the bulge chasing in vectors of CK_WIDTH / 2 doubles.

#include "../bulge_chasing.h"
#include "doubles.h"

enum { block_vectors = ck_band_width / CK_DOUBLES };

// Whether a place in the vector on the diagonal belongs to the lower triangle; `first` is the
// column's place among those of the vector.
CK_INLINE long_vector places_from(size_t first) {
#if CK_DOUBLES == 8
  const long_vector places = {0, 1, 2, 3, 4, 5, 6, 7};
#elif CK_DOUBLES == 4
  const long_vector places = {0, 1, 2, 3};
#else
  const long_vector places = {0, 1};
#endif
  return places >= (long_vector)(long)first;
}

// In the vector on the diagonal, places above it hold elements that are not the matrix's. They are
// written, but never count.
static void reflect_diagonal(double *block, const ck_reflection *reflection) {
  if (reflection->factor == 0) return;
  const double_vector zero = (double_vector)0.0;
  double_vector v[block_vectors], x[block_vectors];
  double products[ck_band_width], sums[ck_band_width];
#pragma clang loop unroll(full)
  for (size_t i = 0; i < block_vectors; i++) {
    v[i] = load(reflection->v + i * CK_DOUBLES);
    x[i] = zero;
  }
#pragma clang loop unroll(full)
  for (size_t first = 0; first < block_vectors; first++)
    for (size_t place = 0; place < CK_DOUBLES; place++) {
      size_t j = first * CK_DOUBLES + place;
      const double *column = block + j * ck_block_stride;
      double_vector factor = (double_vector)reflection->v[j], sum;
      double_vector value = load(column + first * CK_DOUBLES);
      x[first] = fused(places_from(place) ? value : zero, factor, x[first]);
      sum = (places_from(place + 1) ? value : zero) * v[first];
#pragma clang loop unroll(full)
      for (size_t i = first + 1; i < block_vectors; i++) {
        value = load(column + i * CK_DOUBLES);
        x[i] = fused(value, factor, x[i]);
        sum = fused(value, v[i], sum);
      }
      products[j] = sum_of(sum);
    }
  double_vector factor = (double_vector)reflection->factor, product = zero;
#pragma clang loop unroll(full)
  for (size_t i = 0; i < block_vectors; i++) {
    x[i] = (x[i] + load(products + i * CK_DOUBLES)) * factor;
    product = fused(x[i], v[i], product);
  }
  product = (double_vector)(-0.5 * reflection->factor * sum_of(product));
#pragma clang loop unroll(full)
  for (size_t i = 0; i < block_vectors; i++) {
    x[i] = fused(product, v[i], x[i]);
    store(sums + i * CK_DOUBLES, x[i]);
  }
#pragma clang loop unroll(full)
  for (size_t first = 0; first < block_vectors; first++)
    for (size_t place = 0; place < CK_DOUBLES; place++) {
      size_t j = first * CK_DOUBLES + place;
      double *column = block + j * ck_block_stride;
      double_vector by_v = (double_vector)-reflection->v[j], by_x = (double_vector)-sums[j];
#pragma clang loop unroll(full)
      for (size_t i = first; i < block_vectors; i++) {
        double *start = column + i * CK_DOUBLES;
        store(start, fused(by_v, x[i], fused(by_x, v[i], load(start))));
      }
    }
}

static void move_bulge(double *block, ck_reflection *reflection) {
  const double_vector zero = (double_vector)0.0;
  double_vector sums[block_vectors], v[block_vectors];
  double last[ck_band_width];
  memcpy(last, reflection->v, sizeof last);
  double_vector factor = (double_vector)-reflection->factor;
#pragma clang loop unroll(full)
  for (size_t i = 0; i < block_vectors; i++) sums[i] = zero;
  for (size_t j = 0; j < ck_band_width; j++) {
    double_vector by = (double_vector)last[j];
#pragma clang loop unroll(full)
    for (size_t i = 0; i < block_vectors; i++)
      sums[i] = fused(load(block + j * ck_block_stride + i * CK_DOUBLES), by, sums[i]);
  }
#pragma clang loop unroll(full)
  for (size_t i = 0; i < block_vectors; i++) {
    sums[i] *= factor;
    double *start = block + i * CK_DOUBLES;
    store(start, fused(sums[i], (double_vector)last[0], load(start)));
  }
  ck_find_reflection(block, reflection);
#pragma clang loop unroll(full)
  for (size_t i = 0; i < block_vectors; i++) v[i] = load(reflection->v + i * CK_DOUBLES);
  for (size_t j = 1; j < ck_band_width; j++) {
    double *column = block + j * ck_block_stride;
    double_vector values[block_vectors], product = zero, by = (double_vector)last[j];
#pragma clang loop unroll(full)
    for (size_t i = 0; i < block_vectors; i++) {
      values[i] = fused(sums[i], by, load(column + i * CK_DOUBLES));
      product = fused(values[i], v[i], product);
    }
    product = (double_vector)(-reflection->factor * sum_of(product));
#pragma clang loop unroll(full)
    for (size_t i = 0; i < block_vectors; i++)
      store(column + i * CK_DOUBLES, fused(product, v[i], values[i]));
  }
}

const ck_bulge_table CK_TABLE = {.reflect_diagonal = reflect_diagonal, .move_bulge = move_bulge};
