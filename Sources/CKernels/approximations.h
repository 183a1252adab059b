// Coefficients of approximations.

#ifndef CK_APPROXIMATIONS_H
#define CK_APPROXIMATIONS_H

// 2ʳ ≈ 1 + r (CK_POWER_1 + r (CK_POWER_2 + …)) for |r| ≤ ½, with the least relative error, 2.9e-6.
#define CK_POWER_1 0x1.62e12cp-1f
#define CK_POWER_2 0x1.ec0378p-3f
#define CK_POWER_3 0x1.c9fc46p-5f
#define CK_POWER_4 0x1.3a02ccp-7f

// Φ(x) ≈ ½ + x p(t) for |x| < limit, with t = 2 x² / limit² − 1, and exactly 0 or 1 at the limit but for
// rounding. Coefficients are those of p from the highest power on.

// The least error, 4e-7.
#define CK_DISTRIBUTION_LIMIT 5.0f
#define CK_DISTRIBUTION \
  0x1.8c8388p-11f, -0x1.c3ad32p-10f, 0x1.613bc8p-10f, -0x1.3d685ap-9f, 0x1.bb0d7cp-8f, \
    -0x1.754780p-7f, 0x1.0a56f8p-6f, -0x1.7bdba0p-6f, 0x1.01caa8p-5f, -0x1.4b683ap-5f, \
    0x1.a60adcp-5f, -0x1.1fee7ap-4f, 0x1.218358p-3f

// The least error of x Φ(x): 2.6e-5.
#define CK_COARSE_DISTRIBUTION_LIMIT 4.4f
#define CK_COARSE_DISTRIBUTION \
  0x1.68aa92p-9f, -0x1.02521ep-7f, 0x1.682e56p-7f, -0x1.05c916p-6f, 0x1.b71858p-6f, \
    -0x1.48685ep-5f, 0x1.c49d5ap-5f, -0x1.41ff06p-4f, 0x1.48821cp-3f

#endif
