// The weights of linear layers and convolutions as the kernels read them.

#ifndef CK_WEIGHTS_H
#define CK_WEIGHTS_H

#include <stddef.h>

// Outputs come in panels of this many, the last one filled up with zeros.
enum { ck_panel_width = 16 };

// The matrix of a product over `taps` vectors of `inputs` elements each: one for a linear layer, nine
// for a 3×3 convolution.
typedef struct ck_weights {
  size_t outputs;
  size_t inputs;
  size_t taps;
  // [panel, tap, input, ck_panel_width], aligned to 64 bytes.
  float *panels;
  // [panel, ck_panel_width]: zeros where there is no bias.
  float *bias;
  // `inputs` zeros: what lies outside of a picture.
  float *zeros;
} ck_weights;

static inline size_t ck_panel_count(const ck_weights *weights) {
  return (weights->outputs + ck_panel_width - 1) / ck_panel_width;
}

// Elements of a panel.
static inline size_t ck_panel_stride(const ck_weights *weights) {
  return weights->taps * weights->inputs * ck_panel_width;
}

#endif
