// Operations on files and bytes that Swift's Glibc module lacks.
#ifndef CONDI_FILES_H
#define CONDI_FILES_H

#include <stddef.h>
#include <sys/types.h>

// Linux's `fallocate` from the beginning of the file: reserves the space of `count` bytes and
// extends the file to at least that length. Returns 0 or the error number. Unlike
// `posix_fallocate`, it returns EOPNOTSUPP if the file system lacks support, instead of writing to
// every block.
int condi_reserve(int file, off_t count);

// GNU's `memmem`: the first occurrence of `wanted` in `bytes`, or NULL.
const void *condi_find(const void *bytes, size_t count, const void *wanted, size_t wanted_count);

#endif
