#define _GNU_SOURCE
#include "condi_files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

int condi_reserve(int file, off_t count) {
  int result;
  do {
    result = fallocate(file, 0, 0, count);
  } while (result != 0 && errno == EINTR);
  return result == 0 ? 0 : errno;
}

const void *condi_find(const void *bytes, size_t count, const void *wanted, size_t wanted_count) {
  return memmem(bytes, count, wanted, wanted_count);
}
