// Coefficients of approximations.

#ifndef CK_APPROXIMATIONS_H
#define CK_APPROXIMATIONS_H

// 2ʳ ≈ 1 + r (CK_POWER_1 + r (CK_POWER_2 + …)) for |r| ≤ ½, with the least relative error, 2.9e-6.
#define CK_POWER_1 0x1.62e12cp-1f
#define CK_POWER_2 0x1.ec0378p-3f
#define CK_POWER_3 0x1.c9fc46p-5f
#define CK_POWER_4 0x1.3a02ccp-7f

// Φ(x) ≈ ½ + x p(t) for |x| < 4.4, with t = 2 x² / 4.4² − 1, exactly 1 at the limit, and the least error
// of x Φ(x), 2.6e-5. From the highest power of t on.
#define CK_COARSE_GELU_LIMIT 4.4f
#define CK_COARSE_GELU \
  0x1.68aa92p-9f, -0x1.02521ep-7f, 0x1.682e56p-7f, -0x1.05c916p-6f, 0x1.b71858p-6f, \
    -0x1.48685ep-5f, 0x1.c49d5ap-5f, -0x1.41ff06p-4f, 0x1.48821cp-3f

#endif
