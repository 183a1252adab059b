// Kernels for AVX-512, computed by other instructions, so that they are tested on every processor.

#ifndef EMULATED_KERNELS_H
#define EMULATED_KERNELS_H

// Makes all vector levels of x86-64 available to tests. Where the processor has a level, its own
// instructions run. To be called before other threads run; further calls change nothing.
void emulate_missing_vector_levels(void);

// The powers of two of attention on codes, which all vector levels compute alike.
float reference_power_of_two(float x);

#endif
