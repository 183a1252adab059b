#define _GNU_SOURCE
#include "condi_signals.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// MARK: Ranges guarded against SIGBUS

enum { guard_count = 4096 };

// `start` is 0 in a free slot and 1 in a slot being filled; no mapping begins at these addresses.
static struct {
  _Atomic uintptr_t start;
  _Atomic size_t count;
  _Atomic bool has_faulted;
} guards[guard_count];

static _Atomic int used_guards;
static _Atomic unsigned long fault_count;
static _Atomic bool is_installed;
static struct sigaction previous_bus_action;
static uintptr_t page_byte_count;

static void handle_bus(int signal, siginfo_t *info, void *context) {
  (void)context;
  int saved_errno = errno;
  uintptr_t address = (uintptr_t)info->si_addr;
  int used = atomic_load(&used_guards);
  for (int slot = 0; slot < used; slot++) {
    uintptr_t start = atomic_load(&guards[slot].start);
    size_t count = atomic_load(&guards[slot].count);
    if (start <= 1 || address < start || address - start >= count) continue;
    // Recorded before any thread can read a zero.
    atomic_store(&guards[slot].has_faulted, true);
    atomic_fetch_add(&fault_count, 1);
    // The rest of a truncated file is missing as well, so one fault is enough.
    uintptr_t page = address & ~(page_byte_count - 1);
    void *zeros = mmap((void *)page, start + count - page, PROT_READ,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    if (zeros == MAP_FAILED) break;
    errno = saved_errno;
    return;
  }
  // Not a guarded range: the instruction runs again under the previous action.
  sigaction(signal, &previous_bus_action, NULL);
  errno = saved_errno;
}

int condi_bus_guard_install(void) {
  if (atomic_exchange(&is_installed, true)) return 0;
  page_byte_count = (uintptr_t)sysconf(_SC_PAGESIZE);
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = handle_bus;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGBUS, &action, &previous_bus_action) == 0) return 0;
  atomic_store(&is_installed, false);
  return errno;
}

bool condi_bus_guard_is_installed(void) { return atomic_load(&is_installed); }

int condi_bus_guard_add(const void *start, size_t count) {
  for (int slot = 0; slot < guard_count; slot++) {
    uintptr_t free_slot = 0;
    if (!atomic_compare_exchange_strong(&guards[slot].start, &free_slot, 1)) continue;
    atomic_store(&guards[slot].count, count);
    atomic_store(&guards[slot].has_faulted, false);
    atomic_store(&guards[slot].start, (uintptr_t)start);
    int used = atomic_load(&used_guards);
    while (used <= slot && !atomic_compare_exchange_weak(&used_guards, &used, slot + 1)) continue;
    return slot;
  }
  return -1;
}

void condi_bus_guard_remove(int slot) {
  if (slot >= 0 && slot < guard_count) atomic_store(&guards[slot].start, 0);
}

bool condi_bus_guard_has_faulted(int slot) {
  return slot >= 0 && slot < guard_count && atomic_load(&guards[slot].has_faulted);
}

unsigned long condi_bus_guard_fault_count(void) { return atomic_load(&fault_count); }

// MARK: Files removed when the process is told to end

enum { cleanup_count = 64 };
enum { slot_free, slot_changing, slot_taken };

static struct {
  _Atomic int state;
  char path[PATH_MAX];
} cleanups[cleanup_count];

static void handle_end(int signal) {
  for (int slot = 0; slot < cleanup_count; slot++) {
    if (atomic_load(&cleanups[slot].state) == slot_taken) unlink(cleanups[slot].path);
  }
  // SA_RESETHAND has restored the default action. When this handler returns and the signal is
  // unblocked, the process ends by the signal that it was sent, as its parent expects.
  raise(signal);
}

int condi_cleanup_install(void) {
  const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
  struct sigaction action;
  for (size_t index = 0; index < sizeof signals / sizeof *signals; index++) {
    struct sigaction present;
    if (sigaction(signals[index], NULL, &present) != 0) return errno;
    if (present.sa_handler == SIG_IGN) continue;  // as under nohup
    memset(&action, 0, sizeof action);
    action.sa_handler = handle_end;
    action.sa_flags = SA_RESETHAND;
    sigemptyset(&action.sa_mask);
    if (sigaction(signals[index], &action, NULL) != 0) return errno;
  }
  memset(&action, 0, sizeof action);
  action.sa_handler = SIG_IGN;
  return sigaction(SIGXFSZ, &action, NULL) == 0 ? 0 : errno;
}

int condi_cleanup_add(const char *path) {
  size_t count = strlen(path) + 1;
  if (count > PATH_MAX) return -1;
  for (int slot = 0; slot < cleanup_count; slot++) {
    int state = slot_free;
    if (!atomic_compare_exchange_strong(&cleanups[slot].state, &state, slot_changing)) continue;
    memcpy(cleanups[slot].path, path, count);
    atomic_store(&cleanups[slot].state, slot_taken);
    return slot;
  }
  return -1;
}

void condi_cleanup_remove(int slot) {
  if (slot >= 0 && slot < cleanup_count) atomic_store(&cleanups[slot].state, slot_free);
}
