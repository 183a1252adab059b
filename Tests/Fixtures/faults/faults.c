// Preloaded into the tool by its tests: makes one call fail, stop, or be the process's last.
//
//   FAULT_CALLS   names of functions, separated by commas, that are counted together
//   FAULT_AT      which of those calls, from 1
//   FAULT         ENOSPC, EIO, EOPNOTSUPP: the call fails. KILL: the process dies before the call;
//                 HALF: after half a write. PAUSE: the call waits until the file FAULT_RESUME
//                 exists, after writing its thread's number and an end of line to FAULT_PAUSED.
//   FAULT_COUNT   a file to which the number of those calls is written at the end
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static _Atomic int calls;

static int is_counted(const char *name) {
  const char *list = getenv("FAULT_CALLS");
  size_t length = strlen(name);
  while (list && *list) {
    if (strncmp(list, name, length) == 0 && (list[length] == ',' || list[length] == 0)) return 1;
    list = strchr(list, ',');
    if (list) list++;
  }
  return 0;
}

enum action { proceed, fail, halve };

static enum action meet(const char *name) {
  if (!is_counted(name)) return proceed;
  const char *at = getenv("FAULT_AT"), *fault = getenv("FAULT");
  int call = atomic_fetch_add(&calls, 1) + 1;
  if (!at || !fault || call != atoi(at)) return proceed;
  if (strcmp(fault, "KILL") == 0) kill(getpid(), SIGKILL);
  if (strcmp(fault, "HALF") == 0) return halve;
  if (strcmp(fault, "PAUSE") == 0) {
    const char *paused = getenv("FAULT_PAUSED"), *resume = getenv("FAULT_RESUME");
    int file = paused ? open(paused, O_CREAT | O_WRONLY, 0600) : -1;
    if (file >= 0) {
      dprintf(file, "%d\n", gettid());
      close(file);
    }
    for (int wait = 0; wait < 60000 && (!resume || access(resume, F_OK) != 0); wait++) usleep(1000);
    return proceed;
  }
  errno = strcmp(fault, "ENOSPC") == 0 ? ENOSPC
    : strcmp(fault, "EOPNOTSUPP") == 0 ? EOPNOTSUPP
    : EIO;
  return fail;
}

__attribute__((destructor)) static void tell_count(void) {
  const char *path = getenv("FAULT_COUNT");
  int file = path ? open(path, O_CREAT | O_WRONLY, 0600) : -1;
  if (file >= 0) dprintf(file, "%d", atomic_load(&calls));
}

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))

#define WRITER(name)                                                                          \
  ssize_t name(int file, const void *bytes, size_t count, off_t offset) {                     \
    typedef ssize_t (*function)(int, const void *, size_t, off_t);                            \
    enum action action = meet("pwrite");                                                      \
    if (action == fail) return -1;                                                            \
    ssize_t done = NEXT(function, #name)(file, bytes, action == halve ? count / 2 : count, offset); \
    if (action == halve) kill(getpid(), SIGKILL);                                             \
    return done;                                                                              \
  }
WRITER(pwrite)
WRITER(pwrite64)

ssize_t write(int file, const void *bytes, size_t count) {
  typedef ssize_t (*function)(int, const void *, size_t);
  enum action action = meet("write");
  if (action == fail) return -1;
  ssize_t done = NEXT(function, "write")(file, bytes, action == halve ? count / 2 : count);
  if (action == halve) kill(getpid(), SIGKILL);
  return done;
}

#define READER(name)                                                        \
  ssize_t name(int file, void *bytes, size_t count, off_t offset) {         \
    typedef ssize_t (*function)(int, void *, size_t, off_t);                \
    if (meet("pread") != proceed) return -1;                                \
    return NEXT(function, #name)(file, bytes, count, offset);               \
  }
READER(pread)
READER(pread64)

#define ALLOCATOR(name)                                                     \
  int name(int file, int mode, off_t offset, off_t count) {                 \
    typedef int (*function)(int, int, off_t, off_t);                        \
    if (meet("fallocate") != proceed) return -1;                            \
    return NEXT(function, #name)(file, mode, offset, count);                \
  }
ALLOCATOR(fallocate)
ALLOCATOR(fallocate64)

int fsync(int file) {
  typedef int (*function)(int);
  return meet("fsync") != proceed ? -1 : NEXT(function, "fsync")(file);
}

#define CUTTER(name)                                                        \
  int name(const char *path, off_t count) {                                 \
    typedef int (*function)(const char *, off_t);                           \
    if (meet("truncate") != proceed) return -1;                             \
    return NEXT(function, #name)(path, count);                              \
  }
CUTTER(truncate)
CUTTER(truncate64)

#define FILE_CUTTER(name)                                                   \
  int name(int file, off_t count) {                                         \
    typedef int (*function)(int, off_t);                                    \
    if (meet("ftruncate") != proceed) return -1;                            \
    return NEXT(function, #name)(file, count);                              \
  }
FILE_CUTTER(ftruncate)
FILE_CUTTER(ftruncate64)

int flock(int file, int operation) {
  typedef int (*function)(int, int);
  return meet("flock") != proceed ? -1 : NEXT(function, "flock")(file, operation);
}

int rename(const char *from, const char *to) {
  typedef int (*function)(const char *, const char *);
  return meet("rename") != proceed ? -1 : NEXT(function, "rename")(from, to);
}

int link(const char *from, const char *to) {
  typedef int (*function)(const char *, const char *);
  return meet("link") != proceed ? -1 : NEXT(function, "link")(from, to);
}

int unlink(const char *path) {
  typedef int (*function)(const char *);
  return meet("unlink") != proceed ? -1 : NEXT(function, "unlink")(path);
}

// libdeflate's checksum, which reads mapped input: never an error, but a place to wait.
unsigned libdeflate_crc32(unsigned checksum, const void *bytes, size_t count) {
  typedef unsigned (*function)(unsigned, const void *, size_t);
  meet("crc32");
  return NEXT(function, "libdeflate_crc32")(checksum, bytes, count);
}
