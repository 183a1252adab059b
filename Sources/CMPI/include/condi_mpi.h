// The few things that ranks say to one another, over MPI, whose handles Swift cannot import: in Open
// MPI they are macros that cast addresses.
//
// Calls may come from any thread, one at a time: MPI is asked for MPI_THREAD_SERIALIZED, because its
// one-sided transports of Open MPI 4.1 refuse more. A rank that waits for others looks every now and
// then instead of spinning. Errors of MPI itself end all ranks, with MPI's own words.
#ifndef CONDI_MPI_H
#define CONDI_MPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Begins; once a process, before it has other threads.
// Returns whether MPI allows calls from several threads.
bool condi_mpi_start(void);
int condi_mpi_rank(void);
int condi_mpi_count(void);

// Rank 0's counter, to which every rank adds one, one-sided. Returns what it was before.
uint64_t condi_mpi_take(void);
// Sets the counter to zero. All ranks call it, and none goes on before that is done.
void condi_mpi_reset_counter(void);
// Whether this call is the first one of all ranks, ever.
bool condi_mpi_claim(void);

// Sends rank 0's bytes to all. All ranks call it with the same count.
void condi_mpi_broadcast(void *bytes, size_t count);
// From one rank to another, which both name the same count.
void condi_mpi_send(const void *bytes, size_t count, int rank);
void condi_mpi_receive(void *bytes, size_t count, int rank);

// Lets MPI serve what other ranks ask of this one's memory.
void condi_mpi_progress(void);

// Ends all ranks; the launcher ends with this code.
void condi_mpi_abort(int code);
// Ends, when all ranks have come here.
void condi_mpi_finish(void);

#endif
