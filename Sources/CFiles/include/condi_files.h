// Calls on files that Swift's Glibc module leaves out.
#ifndef CONDI_FILES_H
#define CONDI_FILES_H

#include <sys/types.h>

// Linux's `fallocate` from the file's beginning: reserves the space of `count` bytes, and makes the file
// at least so long. Returns 0, or the error number; unlike `posix_fallocate`, EOPNOTSUPP where the file
// system cannot, instead of writing to every block.
int condi_reserve(int file, off_t count);

#endif
