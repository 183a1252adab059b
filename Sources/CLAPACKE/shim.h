#pragma once
// LAPACKE's complex types are C++-like macros that Swift cannot import; only real routines are used.
#define lapack_complex_float float
#define lapack_complex_double double
#include <lapacke.h>
#include <cblas.h>
