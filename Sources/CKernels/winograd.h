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

// values [place, input, ck_panel_width] = G g Gᵀ, rounded once, for the filters [tap, input,
// ck_panel_width] of a panel.
static inline void ck_filter_values(size_t inputs, const float *filters, float *values) {
  const double a = CK_POINT_A, b = CK_POINT_B, a2 = a * a, b2 = b * b;
  // At every point but infinity: its powers, divided by its distances from the other points.
  const double at_0 = 1 / (a2 * b2);
  const double at_a = 1 / (2 * a2 * (a2 - b2)), at_b = 1 / (2 * b2 * (b2 - a2));
  size_t stride = inputs * ck_panel_width;
  for (size_t column = 0; column < stride; column += ck_panel_width) {
    double lines[ck_patch_side][3][ck_panel_width];
    for (size_t tap = 0; tap < 3; tap++) {
      const float *g = filters + tap * stride + column;
      for (size_t output = 0; output < ck_panel_width; output++) {
        double g0 = g[output], g1 = g[3 * stride + output], g2 = g[6 * stride + output];
        lines[0][tap][output] = at_0 * g0;
        lines[1][tap][output] = at_a * (g0 + a2 * g2 + a * g1);
        lines[2][tap][output] = at_a * (g0 + a2 * g2 - a * g1);
        lines[3][tap][output] = at_b * (g0 + b2 * g2 + b * g1);
        lines[4][tap][output] = at_b * (g0 + b2 * g2 - b * g1);
        lines[5][tap][output] = g2;
      }
    }
    for (size_t row = 0; row < ck_patch_side; row++) {
      float *value = values + row * ck_patch_side * stride + column;
      for (size_t output = 0; output < ck_panel_width; output++) {
        double g0 = lines[row][0][output], g1 = lines[row][1][output], g2 = lines[row][2][output];
        value[output] = (float)(at_0 * g0);
        value[stride + output] = (float)(at_a * (g0 + a2 * g2 + a * g1));
        value[2 * stride + output] = (float)(at_a * (g0 + a2 * g2 - a * g1));
        value[3 * stride + output] = (float)(at_b * (g0 + b2 * g2 + b * g1));
        value[4 * stride + output] = (float)(at_b * (g0 + b2 * g2 - b * g1));
        value[5 * stride + output] = (float)g2;
      }
    }
  }
}

// Returns the first place from `x` on at which a line starts.
static inline float *ck_line_start(float *x) {
  return (float *)(((uintptr_t)x + 63) / 64 * 64);
}

#endif
