// Signal handlers. They are written in C because a handler may neither allocate nor take locks,
// which Swift does not guarantee for any code.
//
// The tables have a fixed size, and handlers read them only by atomic loads.
#ifndef CONDI_SIGNALS_H
#define CONDI_SIGNALS_H

#include <stdbool.h>
#include <stddef.h>

// Installs a SIGBUS handler that replaces the rest of a guarded range by zeros and records the
// fault, instead of ending the process. SIGBUS elsewhere has its previous effect. Returns 0 or the
// error number.
int condi_bus_guard_install(void);
bool condi_bus_guard_is_installed(void);

// Guards `count` bytes at `start`, mapped from a file and private to this process. Returns a slot
// for the functions below, or -1 if all are taken.
int condi_bus_guard_add(const void *start, size_t count);
void condi_bus_guard_remove(int slot);
// Returns whether bytes of the range could not be read at any time.
bool condi_bus_guard_has_faulted(int slot);
// Returns the number of ranges that have faulted since the process began.
unsigned long condi_bus_guard_fault_count(void);

// Installs handlers with which SIGINT, SIGTERM, SIGHUP and SIGQUIT, unless ignored, remove the
// registered files before ending the process. Writing past the file size limit becomes an error
// instead of a SIGXFSZ. Returns 0 or the error number.
int condi_cleanup_install(void);

// Registers a file to be removed and copies its path, which must be absolute unless the working
// directory never changes. Returns a slot, or -1 if all are taken or the path is too long.
int condi_cleanup_add(const char *path);
void condi_cleanup_remove(int slot);

#endif
