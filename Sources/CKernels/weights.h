// The weights of linear layers and convolutions in the kernels' layout.

#ifndef CK_WEIGHTS_H
#define CK_WEIGHTS_H

#include <stddef.h>

// The number of outputs per panel; the last panel is padded with zeros.
enum { ck_panel_width = 16 };

// The matrix of a product over `taps` vectors of `inputs` elements each: one tap for a linear
// layer, nine for a 3×3 convolution.
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

#endif
