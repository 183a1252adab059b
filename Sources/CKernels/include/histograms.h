// Histograms of activations. Results are identical at every vector level.

#ifndef CK_HISTOGRAMS_H
#define CK_HISTOGRAMS_H

#include <stddef.h>

enum { CK_HISTOGRAM_BINS = 2048 };

// Adds 1 to counts[floor(x · factor) − first] for each of `count` elements. `factor` is a power of
// two, and all elements lie in the bins, whose numbers are below 2⁵³.
void ck_count_values(
  const float *x, size_t count, double factor, ptrdiff_t first,
  ptrdiff_t counts[CK_HISTOGRAM_BINS]);

// Adds the energies of rows of `columns` finite elements, each relative to its row or, if
// `group_size` is not zero, to its group of so many elements of the row.
//
// Bins divide −1 … 1; the place of an element x is (x − c) / m and its energy m². For rows, c is 0
// and m is `ck_row_magnitude`. For groups, c is the middle of `ck_range_of` and m half its width;
// groups that are quantized to a single value add nothing.
void ck_add_row_energies(
  const float *x, size_t rows, size_t columns, size_t group_size,
  double energies[CK_HISTOGRAM_BINS]);

#endif
