// The steps of the bulge chasing that have a version for each vector level.

#ifndef CK_BULGE_TABLE_H
#define CK_BULGE_TABLE_H

#include "include/bulge_chasing.h"

struct ck_bulge_table {
  // Applies a reflection from both sides to the lower triangle of a diagonal block.
  void (*reflect_diagonal)(double *block, const ck_reflection *reflection);
  // Applies a reflection from the right to a block below the diagonal, and replaces it by the one
  // that, from the left, makes the first column zero but for the first element.
  void (*move_bulge)(double *block, ck_reflection *reflection);
};

// Columns of a block are this far apart.
enum { ck_block_stride = ck_band_stride - 1 };

// Finds the reflection that maps `column` to a multiple of the first unit vector, and replaces the
// column by that. LAPACK's dlarfg, for elements whose squares do not overflow; those whose squares
// are lost beside any other element count as zero.
void ck_find_reflection(double *column, ck_reflection *reflection);

extern const ck_bulge_table ck_bulge_scalar;
extern const ck_bulge_table ck_bulge_128;
extern const ck_bulge_table ck_bulge_256;
extern const ck_bulge_table ck_bulge_512;

#endif
