#include "bulge_chasing.h"

#include <math.h>

#include "vector_levels.h"

const ck_bulge_table *ck_bulge_kernels(void) { return ck_current_level()->bulge; }

void ck_find_reflection(double *column, ck_reflection *reflection) {
  double *v = reflection->v, square = 0;
  for (size_t index = 1; index < ck_band_width; index++) square += column[index] * column[index];
  v[0] = 1;
  if (square < 1e-280) {
    reflection->factor = 0;
    for (size_t index = 1; index < ck_band_width; index++) v[index] = column[index] = 0;
    return;
  }
  double first = column[0], norm = -copysign(sqrt(first * first + square), first);
  double inverse = 1 / (first - norm);
  reflection->factor = (norm - first) / norm;
  for (size_t index = 1; index < ck_band_width; index++) {
    v[index] = column[index] * inverse;
    column[index] = 0;
  }
  column[0] = norm;
}

void ck_chase_bulge(
  const ck_bulge_table *kernels, double *band, size_t sweep, size_t step,
  ck_reflection *reflection) {
  size_t row = sweep + 1 + step * ck_band_width;
  if (step == 0)
    ck_find_reflection(band + sweep * ck_band_stride + 1, reflection);
  else
    kernels->move_bulge(
      band + (row - ck_band_width) * ck_band_stride + ck_band_width, reflection);
  kernels->reflect_diagonal(band + row * ck_band_stride, reflection);
}

// MARK: Scalar kernels

static void reflect_diagonal(double *block, const ck_reflection *reflection) {
  const double *v = reflection->v;
  double x[ck_band_width] = {0}, product = 0;
  for (size_t j = 0; j < ck_band_width; j++)
    for (size_t i = j; i < ck_band_width; i++) {
      double value = block[j * ck_block_stride + i];
      x[i] += value * v[j];
      if (i > j) x[j] += value * v[i];
    }
  for (size_t i = 0; i < ck_band_width; i++) {
    x[i] *= reflection->factor;
    product += x[i] * v[i];
  }
  for (size_t i = 0; i < ck_band_width; i++) x[i] -= 0.5 * reflection->factor * product * v[i];
  for (size_t j = 0; j < ck_band_width; j++)
    for (size_t i = j; i < ck_band_width; i++)
      block[j * ck_block_stride + i] -= x[i] * v[j] + x[j] * v[i];
}

static void move_bulge(double *block, ck_reflection *reflection) {
  double sums[ck_band_width] = {0};
  for (size_t j = 0; j < ck_band_width; j++)
    for (size_t i = 0; i < ck_band_width; i++)
      sums[i] += block[j * ck_block_stride + i] * reflection->v[j];
  for (size_t j = 0; j < ck_band_width; j++)
    for (size_t i = 0; i < ck_band_width; i++)
      block[j * ck_block_stride + i] -= reflection->factor * sums[i] * reflection->v[j];
  ck_find_reflection(block, reflection);
  for (size_t j = 1; j < ck_band_width; j++) {
    double *column = block + j * ck_block_stride, product = 0;
    for (size_t i = 0; i < ck_band_width; i++) product += reflection->v[i] * column[i];
    product *= reflection->factor;
    for (size_t i = 0; i < ck_band_width; i++) column[i] -= product * reflection->v[i];
  }
}

const ck_bulge_table ck_bulge_scalar = {
  .reflect_diagonal = reflect_diagonal, .move_bulge = move_bulge};
