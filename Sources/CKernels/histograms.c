#include "histograms.h"

#include <stdint.h>

#include "ckernels.h"
#include "row_coding.h"

#pragma STDC FP_CONTRACT OFF

enum {
  bins = CK_HISTOGRAM_BINS,
  // Neighbours are added to different tables. In one, an element would wait for the one before
  // where both lie in the same bin, as most attention weights do.
  tables = 4,
  // Clearing and adding up the tables takes as long as this many elements.
  least_count = 1 << 14,
  // Elements whose bins are found together.
  block = 256,
};

static inline size_t shorter(size_t a, size_t b) { return a < b ? a : b; }

// MARK: Counts

static void count_far(
  const float *x, size_t count, double factor, ptrdiff_t first, ptrdiff_t *counts) {
  for (size_t index = 0; index < count; index++) {
    double place = x[index] * factor;
    ptrdiff_t bin = (ptrdiff_t)place;
    counts[bin - ((double)bin > place) - first]++;
  }
}

// Finds the bins of elements whose numbers fit in 32 bits.
static inline void find_bins(
  const float *x, size_t count, double factor, int32_t first, int32_t *found) {
  for (size_t index = 0; index < count; index++) {
    double place = x[index] * factor;
    int32_t bin = (int32_t)place;
    found[index] = bin - ((double)bin > place) - first;
  }
}

void ck_count_values(
  const float *x, size_t count, double factor, ptrdiff_t first, ptrdiff_t counts[bins]) {
  const ptrdiff_t limit = 1 << 30;
  if (count < least_count || first < -limit || first > limit - bins) {
    count_far(x, count, factor, first, counts);
    return;
  }
  const size_t most = (size_t)1 << 30;
  for (; count > 0; x += shorter(count, most), count -= shorter(count, most)) {
    uint32_t sums[tables][bins] = {{0}};
    size_t part = shorter(count, most);
    for (size_t start = 0; start < part; start += block) {
      int32_t found[block];
      size_t length = shorter(part - start, block);
      find_bins(x + start, length, factor, (int32_t)first, found);
      for (size_t index = 0; index < length; index++) sums[index % tables][found[index]]++;
    }
    for (size_t table = 0; table < tables; table++)
      for (size_t bin = 0; bin < bins; bin++) counts[bin] += sums[table][bin];
  }
}

// MARK: Energies

// Adds a run of elements with a common center and magnitude.
static inline void add_run(
  const float *x, size_t count, float center, float magnitude, double *sums, size_t stride) {
  if (!(magnitude > 0)) return;
  double energy = (double)magnitude * (double)magnitude;
  float factor = (float)(bins / 2) / magnitude;
  for (size_t start = 0; start < count; start += block) {
    int32_t found[block];
    size_t length = shorter(count - start, block);
    for (size_t index = 0; index < length; index++) {
      float place = (x[start + index] - center) * factor + (float)(bins / 2);
      place = place > 0 ? place : 0;
      found[index] = (int32_t)(place < bins - 1 ? place : bins - 1);
    }
    for (size_t index = 0; index < length; index++)
      sums[index % tables * stride + (size_t)found[index]] += energy;
  }
}

static void add_rows(
  const float *x, size_t rows, size_t columns, size_t group_size, double *sums, size_t stride) {
  for (size_t row = 0; row < rows; row++, x += columns) {
    if (group_size == 0) {
      add_run(x, columns, 0, ck_row_magnitude(x, columns), sums, stride);
      continue;
    }
    for (size_t first = 0; first < columns; first += group_size) {
      size_t length = ck_group_length(columns - first, group_size);
      ck_range range = ck_range_of(x + first, length);
      if (!ck_is_range(range)) continue;
      add_run(
        x + first, length, range.least / 2 + range.greatest / 2,
        range.greatest / 2 - range.least / 2, sums, stride);
    }
  }
}

void ck_add_row_energies(
  const float *x, size_t rows, size_t columns, size_t group_size, double energies[bins]) {
  if (rows * columns < least_count) {
    add_rows(x, rows, columns, group_size, energies, 0);
    return;
  }
  double sums[tables][bins] = {{0}};
  add_rows(x, rows, columns, group_size, sums[0], bins);
  for (size_t table = 0; table < tables; table++)
    for (size_t bin = 0; bin < bins; bin++) energies[bin] += sums[table][bin];
}
