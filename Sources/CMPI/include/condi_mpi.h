// The communication among ranks, over MPI.
//
// The program accesses MPI only through this table, which a separate library provides: `make mpi`
// compiles it with Open MPI. The same program thus runs with and without MPI, and needs MPI neither
// to build nor to run. Open MPI's handles are macros that cast addresses, which Swift could not
// import.
//
// Calls may come from any thread, one at a time: MPI_THREAD_SERIALIZED is requested, because the
// one-sided transports of Open MPI 4.1 do not support more. A rank that waits for others polls with
// pauses instead of spinning. MPI errors end all ranks, with MPI's own message.
#ifndef CONDI_MPI_H
#define CONDI_MPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Incremented whenever the table changes.
#define CONDI_MPI_VERSION 1

typedef struct condi_mpi_table {
  int version;

  // Initializes MPI; once per process, before other threads exist. Returns whether MPI allows calls
  // from several threads.
  bool (*start)(void);
  int (*rank)(void);
  int (*count)(void);

  // Increments rank 0's counter, one-sided, and returns its previous value.
  uint64_t (*take)(void);
  // Sets the counter to zero. All ranks call it, and all wait until it is done.
  void (*reset_counter)(void);
  // Returns whether this is the first call among all ranks.
  bool (*claim)(void);

  // Sends rank 0's bytes to all ranks, which all call it with the same count.
  void (*broadcast)(void *bytes, size_t count);
  // Sends bytes from one rank to another; both pass the same count.
  void (*send)(const void *bytes, size_t count, int rank);
  void (*receive)(void *bytes, size_t count, int rank);

  // Lets MPI serve other ranks' accesses to this rank's memory.
  void (*progress)(void);

  // Ends all ranks; the launcher exits with this code.
  void (*abort)(int code);
  // Finalizes MPI once all ranks have called this.
  void (*finish)(void);
} condi_mpi_table;

// Loads the library at `path`, whose only symbol is a table named `condi_mpi_calls`. Returns null
// if it cannot be loaded or has another version; `problem` then gives the reason, in memory that
// the next call on this thread may overwrite.
const condi_mpi_table *condi_mpi_load(const char *path, const char **problem);

#endif
