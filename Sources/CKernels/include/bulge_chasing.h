// One step of the reduction of a symmetric band matrix to tridiagonal form by Householder
// reflections, in double precision.
//
// Sources: Murata and Horikoshi, "A new method for the tridiagonalization of the symmetric band
// matrix", 1975; Haidar, Ltaief and Dongarra, "Parallel reduction to condensed forms for symmetric
// eigenvalue problems using aggregated fine-grained and memory-aware kernels", SC 2011.
//
// Every kernel has a scalar version, which defines its result, and versions for vector units, which
// agree with it within rounding.

#ifndef CK_BULGE_CHASING_H
#define CK_BULGE_CHASING_H

#include <stddef.h>

enum {
  // The number of subdiagonals, which is the size of the blocks.
  ck_band_width = 32,
  // The distance between columns: the diagonal, the subdiagonals, as many for the bulge, and
  // elements that vectors overwrite.
  ck_band_stride = 72,
};

// A reflection I − factor · v vᵀ.
typedef struct ck_reflection {
  double factor;
  double v[ck_band_width];
} ck_reflection;

typedef struct ck_bulge_table ck_bulge_table;

// Returns the kernels of the current thread's level.
const ck_bulge_table *ck_bulge_kernels(void);

// Performs step `step` of sweep `sweep`, which makes the elements below the subdiagonal of column
// `sweep` zero. Step 0 finds the sweep's first reflection; each further step applies the last one to
// the block of columns that it reaches, and replaces it by the one that moves the bulge on.
//
// Element (i, j) of the lower triangle is at band[j · ck_band_stride + i − j]. The matrix is followed
// by `ck_band_width` columns of zeros, and all of its elements are finite with squares that do not
// overflow. A step may begin when the sweep before it has done step + 2 steps, or all of them: those
// with sweep + 1 + step · ck_band_width below the order of the matrix.
void ck_chase_bulge(
  const ck_bulge_table *kernels, double *band, size_t sweep, size_t step,
  ck_reflection *reflection);

#endif
