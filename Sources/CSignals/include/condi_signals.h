// What a process does when a signal arrives: the little of it that has to be C, because a signal
// handler may neither allocate nor take locks, which Swift promises of nothing.
//
// Tables have a fixed size and are read by handlers with atomic loads alone.
#ifndef CONDI_SIGNALS_H
#define CONDI_SIGNALS_H

#include <stdbool.h>
#include <stddef.h>

// From now on SIGBUS inside a guarded range replaces the rest of that range by zeros and is
// remembered, instead of ending the process. Elsewhere SIGBUS does what it did before.
// Returns 0, or the error number.
int condi_bus_guard_install(void);
bool condi_bus_guard_is_installed(void);

// Guards `count` bytes at `start`, which are mapped from a file and private to this process.
// Returns a slot for the functions below, or -1 when all are taken.
int condi_bus_guard_add(const void *start, size_t count);
void condi_bus_guard_remove(int slot);
// Whether bytes of the range could not be read, now or before.
bool condi_bus_guard_has_faulted(int slot);
// How many ranges have faulted since the process began.
unsigned long condi_bus_guard_fault_count(void);

// From now on SIGINT, SIGTERM, SIGHUP and SIGQUIT remove the registered files before they end the
// process, as far as they are not ignored; and writing past the file size limit is an error
// instead of a SIGXFSZ. Returns 0, or the error number.
int condi_cleanup_install(void);

// Registers a file to be removed, copying its path, which is absolute or stays valid because the
// working folder does not change. Returns a slot, or -1 when all are taken or the path is too long.
int condi_cleanup_add(const char *path);
void condi_cleanup_remove(int slot);

#endif
