// Calls on files, and on bytes in them, that Swift's Glibc module leaves out.
#ifndef CONDI_FILES_H
#define CONDI_FILES_H

#include <stddef.h>
#include <sys/types.h>

// Linux's `fallocate` from the file's beginning: reserves the space of `count` bytes, and makes the file
// at least so long. Returns 0, or the error number; unlike `posix_fallocate`, EOPNOTSUPP where the file
// system cannot, instead of writing to every block.
int condi_reserve(int file, off_t count);

// GNU's `memmem`: where `wanted` first occurs in `bytes`, or NULL.
const void *condi_find(const void *bytes, size_t count, const void *wanted, size_t wanted_count);

#endif
