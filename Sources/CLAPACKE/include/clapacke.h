// The routines of OpenBLAS and LAPACKE that are called, in libraries that are loaded when the first of
// them is needed: most commands need none, and OpenBLAS takes milliseconds to start.

#ifndef CLAPACKE_H
#define CLAPACKE_H

// LAPACKE's complex types are C++-like macros that Swift cannot import; only real routines are used.
#define lapack_complex_float float
#define lapack_complex_double double
#include <cblas.h>
#include <lapacke.h>
#include <stddef.h>

#define CLAPACKE_CBLAS(X) \
  X(cblas_daxpy) \
  X(cblas_ddot) \
  X(cblas_dgemm) \
  X(cblas_dgemv) \
  X(cblas_dnrm2) \
  X(cblas_dscal) \
  X(cblas_dsymv) \
  X(cblas_dtrsm) \
  X(cblas_dtrsv) \
  X(cblas_sgemm) \
  X(openblas_get_config) \
  X(openblas_set_num_threads)

#define CLAPACKE_LAPACKE(X) \
  X(LAPACKE_dgesdd) \
  X(LAPACKE_dpotrf) \
  X(LAPACKE_dpotri) \
  X(LAPACKE_dpotrs) \
  X(LAPACKE_dstevd) \
  X(LAPACKE_dsterf) \
  X(LAPACKE_dsyevd)

#pragma clang assume_nonnull begin

// LAPACKE lacks this routine of LAPACK.
void dsytrd_sy2sb_(
  const char *uplo, const int *n, const int *kd, double *a, const int *lda, double *ab,
  const int *ldab, double *tau, double *work, const int *lwork, int *info, size_t uplo_length);

#define CLAPACKE_LAPACK(X) X(dsytrd_sy2sb_)

#define CLAPACKE_FIELD(name) __typeof__(name) *name;
typedef struct clapacke_calls {
  CLAPACKE_CBLAS(CLAPACKE_FIELD)
  CLAPACKE_LAPACKE(CLAPACKE_FIELD)
  CLAPACKE_LAPACK(CLAPACKE_FIELD)
} clapacke_calls;
#undef CLAPACKE_FIELD

// Loads the libraries and looks up the routines. Returns null and says why in `problem` if one is
// missing. Not for concurrent calls.
//
// OpenBLAS chooses its kernels by the processor's model number, and takes those for SSE3 on models
// that are newer than itself. It is told the kernels by the instructions that the processor has,
// unless OPENBLAS_CORETYPE is set. It begins with one thread, because further ones spin while they
// wait; `openblas_set_num_threads` starts them.
const clapacke_calls *_Nullable clapacke_load(const char *_Nullable *_Nonnull problem);

#pragma clang assume_nonnull end

#endif
