// Products of a matrix with its own transpose, in double precision.
//
// Every kernel has a scalar version, which defines its result, and versions for vector units, which
// agree with it within rounding: each element is a sum over the steps in order.

#ifndef CK_SYMMETRIC_PRODUCTS_H
#define CK_SYMMETRIC_PRODUCTS_H

#include <stdbool.h>
#include <stddef.h>

// The kernels of one vector level. Panels are packed and multiplied by the same ones.
typedef struct ck_symmetric_table ck_symmetric_table;

// Returns the kernels of the current thread's level.
const ck_symmetric_table *ck_symmetric_kernels(void);

// Returns the number of vectors in a panel, 4 or 8.
size_t ck_symmetric_panel_width(const ck_symmetric_table *kernels);

// Returns the number of doubles that panels of `count` vectors of `depth` elements take.
size_t ck_symmetric_panels_size(const ck_symmetric_table *kernels, size_t count, size_t depth);

// Packs `depth` elements of each of `count` vectors, in the panels from `first_panel` to before
// `end_panel`, which are at most those of `ck_symmetric_panels_size`. A panel holds the first
// elements of its vectors, then their second elements, and so on; vectors beyond the last are zero.
// `panels` is the start of all panels.
//
// Element k of vector v is at x[k · stride + v], or x[v · stride + k] if `is_wide`.
void ck_pack_symmetric_panels(
  const ck_symmetric_table *kernels, const double *x, size_t stride, bool is_wide, size_t count,
  size_t depth, size_t first_panel, size_t end_panel, double *panels);

// Adds `sign` times the scalar products of vectors i and j to sum[i · stride + j] for all i from
// `first_row` to before `end_row`, j from `first_column` to before `end_column`, and i ≤ j.
//
// `depth` is that of `ck_pack_symmetric_panels`. First rows and columns are the starts of panels, and
// ends are at most the number of vectors.
void ck_add_symmetric_products(
  const ck_symmetric_table *kernels, const double *panels, size_t depth, size_t first_row,
  size_t end_row, size_t first_column, size_t end_column, double sign, double *sum, size_t stride);

#endif
