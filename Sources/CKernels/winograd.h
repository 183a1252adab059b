// Winograd's algorithm F(4 × 4, 3 × 3): what its versions share.
//
// The image is cut into tiles of 4 × 4 results, which depend on a patch d of 6 × 6 pixels. For a
// filter g they are Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A: patch and filter are evaluated along both sides, as
// polynomials, at the points 0, ±a, ±b and infinity; there they are multiplied, and summed over the
// inputs.

#ifndef CK_WINOGRAD_H
#define CK_WINOGRAD_H

#include <stddef.h>
#include <stdint.h>

#include "ckernels.h"
#include "weights.h"

enum {
  ck_tile_side = CK_WINOGRAD_TILE,
  ck_tile_area = ck_tile_side * ck_tile_side,
  ck_patch_side = ck_tile_side + 2,
  // The number of pixels, and of places at which they are evaluated.
  ck_patch_area = ck_patch_side * ck_patch_side,
  // No version processes more tiles at once, or more outputs.
  ck_most_tiles = 12,
  ck_most_outputs = 64,
};

// a and b. Their powers are exact, and the error is nearly the least that any such points have.
#define CK_POINT_A 1.5f
#define CK_POINT_B 0.625f

// Returns the distance between a patch's values at neighbouring places: an odd number of lines of a
// cache, so that they are spread over all of it.
static inline size_t ck_value_stride(size_t inputs) { return (inputs + 15) / 32 * 32 + 16; }

// Returns the number of floats that every version finds room in: for the values and sums of some
// tiles from the start of a line on, and for a pixel of results that do not matter.
static inline size_t ck_winograd_scratch(const ck_weights *weights) {
  size_t outputs = (weights->outputs + ck_most_outputs - 1) / ck_most_outputs * ck_most_outputs;
  size_t tile = ck_patch_area * (ck_value_stride(weights->inputs) + outputs);
  return ck_most_tiles * tile + weights->outputs + 15;
}

// Returns the first place from `x` on at which a line starts.
static inline float *ck_line_start(float *x) {
  return (float *)(((uintptr_t)x + 63) / 64 * 64);
}

#endif
