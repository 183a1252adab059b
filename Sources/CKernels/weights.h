// The weights of linear layers and convolutions in the kernels' layout.

#ifndef CK_WEIGHTS_H
#define CK_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>

#include "ckernels.h"

// The number of outputs per panel; the last panel is padded with zeros.
enum { ck_panel_width = 16 };

// The matrix of a product over `taps` vectors of `inputs` elements each: one tap for a linear
// layer, those of the kernel for a convolution.
typedef struct ck_weights {
  size_t outputs;
  size_t inputs;
  size_t taps;
  // [panel, tap, input, ck_panel_width], aligned to 64 bytes.
  float *panels;
  // [panel, ck_panel_width]: zeros if there is no bias.
  float *bias;
  // `inputs` zeros, the pixels outside an image.
  float *zeros;
} ck_weights;

static inline size_t ck_panel_count(const ck_weights *weights) {
  return (weights->outputs + ck_panel_width - 1) / ck_panel_width;
}

// Returns the number of elements per panel.
static inline size_t ck_panel_stride(const ck_weights *weights) {
  return weights->taps * weights->inputs * ck_panel_width;
}

// Returns the length of a side of a convolution's output.
static inline size_t ck_output_side(
  const ck_convolution_shape *shape, size_t side, size_t kernel, size_t padding) {
  return (side + 2 * padding - shape->dilation * (kernel - 1) - 1) / shape->step + 1;
}

// Finds the place in an image of `side` pixels that stands for `place`, which is counted from the
// first pixel of the padding. Returns false where zeros do.
static inline bool ck_find_pixel(
  ck_padding mode, size_t side, size_t padding, size_t place, size_t *found) {
  if (place >= padding && place - padding < side) {
    *found = place - padding;
    return true;
  }
  bool is_before = place < padding;
  switch (mode) {
    case CK_PADDING_ZEROS: return false;
    case CK_PADDING_REFLECT:
      *found = is_before ? padding - place : 2 * (side - 1) - (place - padding);
      return true;
    case CK_PADDING_REPLICATE:
      *found = is_before ? 0 : side - 1;
      return true;
  }
  return false;
}

#endif
