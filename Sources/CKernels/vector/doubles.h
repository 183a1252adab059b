// Vectors of CK_WIDTH / 2 doubles.

#pragma STDC FP_CONTRACT OFF

#define CK_DOUBLES (CK_WIDTH / 2)
#define CK_INLINE static inline __attribute__((always_inline))

typedef double double_vector __attribute__((ext_vector_type(CK_DOUBLES)));
typedef long long_vector __attribute__((ext_vector_type(CK_DOUBLES)));
typedef double unaligned_double_vector
  __attribute__((ext_vector_type(CK_DOUBLES), aligned(8), may_alias));

CK_INLINE double_vector load(const double *x) { return *(const unaligned_double_vector *)x; }

CK_INLINE void store(double *x, double_vector value) { *(unaligned_double_vector *)x = value; }

// Returns a · b + c, rounded once if the processor can.
CK_INLINE double_vector fused(double_vector a, double_vector b, double_vector c) {
#if CK_WIDTH == 4 && defined(__x86_64__)
  return a * b + c;
#else
  return __builtin_elementwise_fma(a, b, c);
#endif
}

// Adds halves until one element is left.
CK_INLINE double sum_of(double_vector x) {
#if CK_DOUBLES == 8
  __auto_type half = x.lo + x.hi;
  __auto_type pair = half.lo + half.hi;
#elif CK_DOUBLES == 4
  __auto_type pair = x.lo + x.hi;
#else
  double_vector pair = x;
#endif
  return pair.x + pair.y;
}
