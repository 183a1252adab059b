// The few things that ranks say to one another, over MPI.
//
// The program knows MPI only by this table, which a library of its own fills in: `make mpi` compiles
// it with Open MPI. So one program serves with and without MPI, and needs MPI neither to be built nor
// to run. In Open MPI handles are macros that cast addresses, which Swift could not import.
//
// Calls may come from any thread, one at a time: MPI is asked for MPI_THREAD_SERIALIZED, because its
// one-sided transports of Open MPI 4.1 refuse more. A rank that waits for others looks every now and
// then instead of spinning. Errors of MPI itself end all ranks, with MPI's own words.
#ifndef CONDI_MPI_H
#define CONDI_MPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Changes whenever the table does.
#define CONDI_MPI_VERSION 1

typedef struct condi_mpi_table {
  int version;

  // Begins; once per process, before it has other threads.
  // Returns whether MPI allows calls from several threads.
  bool (*start)(void);
  int (*rank)(void);
  int (*count)(void);

  // Adds one to rank 0's counter, one-sided. Returns what it was before.
  uint64_t (*take)(void);
  // Sets the counter to zero. All ranks call it, and none goes on before that is done.
  void (*reset_counter)(void);
  // Whether this call is the first one of all ranks, ever.
  bool (*claim)(void);

  // Sends rank 0's bytes to all. All ranks call it with the same count.
  void (*broadcast)(void *bytes, size_t count);
  // From one rank to another, which both name the same count.
  void (*send)(const void *bytes, size_t count, int rank);
  void (*receive)(void *bytes, size_t count, int rank);

  // Lets MPI serve what other ranks ask of this one's memory.
  void (*progress)(void);

  // Ends all ranks; the launcher ends with this code.
  void (*abort)(int code);
  // Ends, when all ranks have come here.
  void (*finish)(void);
} condi_mpi_table;

// Loads the library at `path`, whose one symbol is a table named `condi_mpi_calls`. Returns null when it can't be loaded or is of another version;
// `problem` says why then, in memory that the next call on this thread may change.
const condi_mpi_table *condi_mpi_load(const char *path, const char **problem);

#endif
