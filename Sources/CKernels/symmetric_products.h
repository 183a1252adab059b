// The symmetric products that have a version for each vector level.

#ifndef CK_SYMMETRIC_TABLE_H
#define CK_SYMMETRIC_TABLE_H

#include "include/symmetric_products.h"

// The largest tile: the columns of `largest_group` panels for the rows of one.
enum { ck_largest_panel = 8, ck_largest_group = 3 };

struct ck_symmetric_table {
  // The number of vectors in a panel.
  size_t width;
  // The number of panels that are multiplied by one panel at once.
  size_t group;
  // Adds `sign` times the products of one panel with `group` successive ones to a tile of `width`
  // rows and `group` · `width` columns.
  void (*add_tile)(
    const double *rows, const double *columns, size_t depth, double sign, double *sum,
    size_t stride);
};

extern const ck_symmetric_table ck_symmetric_scalar;
extern const ck_symmetric_table ck_symmetric_128;
extern const ck_symmetric_table ck_symmetric_256;
extern const ck_symmetric_table ck_symmetric_512;

#endif
