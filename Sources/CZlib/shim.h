#pragma once
#include <zlib.h>

// The initializers are macros that pass the struct's size, which Swift cannot call.
static inline int condi_deflate_init(z_streamp stream, int level, int window_bits) {
  return deflateInit2(stream, level, Z_DEFLATED, window_bits, 9, Z_DEFAULT_STRATEGY);
}
static inline int condi_inflate_init(z_streamp stream, int window_bits) {
  return inflateInit2(stream, window_bits);
}
