// The library built by `make mpi`: condi_mpi.h implemented with Open MPI.
#include "condi_mpi.h"

#include <mpi.h>
#include <stdlib.h>
#include <time.h>

// MPI counts are ints, so longer messages are sent in pieces.
enum { piece_byte_count = 1 << 30 };

enum { tag = 1 };

// The cells in rank 0's memory, shared by all ranks.
enum { counter, claims, cell_count };

static MPI_Comm ranks;
static MPI_Win window;
static uint64_t *cells;

// MPI's own waits keep a processor busy that others may need.
static void wait_for(MPI_Request *request) {
  struct timespec pause = {0, 10000};
  int is_done = 0;
  while (MPI_Test(request, &is_done, MPI_STATUS_IGNORE), !is_done) {
    nanosleep(&pause, NULL);
    if (pause.tv_nsec < 1000000) pause.tv_nsec += pause.tv_nsec / 2;
  }
}

static void barrier(void) {
  MPI_Request request;
  MPI_Ibarrier(ranks, &request);
  wait_for(&request);
}

static int rank_number(void) {
  int rank = 0;
  MPI_Comm_rank(ranks, &rank);
  return rank;
}

static bool start(void) {
  // Debian's configuration disables the component that carries one-sided calls over TCP, which Open
  // MPI enables by default and which is the only one between machines without InfiniBand. UCX
  // remains disabled, as in Debian's configuration.
  setenv("OMPI_MCA_osc", "^ucx", 0);
  int provided = MPI_THREAD_SINGLE;
  MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided);
  MPI_Comm_dup(MPI_COMM_WORLD, &ranks);
  MPI_Aint byte_count = rank_number() == 0 ? cell_count * sizeof *cells : 0;
  MPI_Win_allocate(byte_count, sizeof *cells, MPI_INFO_NULL, ranks, &cells, &window);
  if (byte_count > 0) {
    MPI_Win_lock(MPI_LOCK_EXCLUSIVE, 0, 0, window);
    for (int cell = 0; cell < cell_count; cell++) cells[cell] = 0;
    MPI_Win_unlock(0, window);
  }
  barrier();
  MPI_Win_lock_all(MPI_MODE_NOCHECK, window);
  return provided >= MPI_THREAD_SERIALIZED;
}

static int rank_count(void) {
  int count = 1;
  MPI_Comm_size(ranks, &count);
  return count;
}

static uint64_t add(int cell, uint64_t amount) {
  uint64_t before = 0;
  MPI_Fetch_and_op(&amount, &before, MPI_UINT64_T, 0, cell, MPI_SUM, window);
  MPI_Win_flush(0, window);
  return before;
}

static uint64_t take(void) { return add(counter, 1); }

static void reset_counter(void) {
  // After this barrier, no rank uses the old counter, and none uses the new one before the next.
  barrier();
  if (rank_number() == 0) {
    uint64_t zero = 0, before = 0;
    MPI_Fetch_and_op(&zero, &before, MPI_UINT64_T, 0, counter, MPI_REPLACE, window);
    MPI_Win_flush(0, window);
  }
  barrier();
}

static bool claim(void) { return add(claims, 1) == 0; }

static void broadcast(void *bytes, size_t count) {
  for (size_t done = 0; done < count;) {
    size_t piece = count - done < piece_byte_count ? count - done : piece_byte_count;
    MPI_Request request;
    MPI_Ibcast((char *)bytes + done, (int)piece, MPI_BYTE, 0, ranks, &request);
    wait_for(&request);
    done += piece;
  }
}

static void send_to(const void *bytes, size_t count, int rank) {
  for (size_t done = 0; done < count;) {
    size_t piece = count - done < piece_byte_count ? count - done : piece_byte_count;
    MPI_Request request;
    MPI_Isend((const char *)bytes + done, (int)piece, MPI_BYTE, rank, tag, ranks, &request);
    wait_for(&request);
    done += piece;
  }
}

static void receive_from(void *bytes, size_t count, int rank) {
  for (size_t done = 0; done < count;) {
    size_t piece = count - done < piece_byte_count ? count - done : piece_byte_count;
    MPI_Request request;
    MPI_Irecv((char *)bytes + done, (int)piece, MPI_BYTE, rank, tag, ranks, &request);
    wait_for(&request);
    done += piece;
  }
}

static void progress(void) {
  int is_there = 0;
  MPI_Iprobe(MPI_ANY_SOURCE, tag, ranks, &is_there, MPI_STATUS_IGNORE);
}

static void abort_all(int code) { MPI_Abort(MPI_COMM_WORLD, code); }

static void finish(void) {
  // MPI_Finalize spins until all ranks have called it.
  barrier();
  MPI_Win_unlock_all(window);
  MPI_Win_free(&window);
  MPI_Comm_free(&ranks);
  MPI_Finalize();
}

const condi_mpi_table condi_mpi_calls = {
  .version = CONDI_MPI_VERSION,
  .start = start,
  .rank = rank_number,
  .count = rank_count,
  .take = take,
  .reset_counter = reset_counter,
  .claim = claim,
  .broadcast = broadcast,
  .send = send_to,
  .receive = receive_from,
  .progress = progress,
  .abort = abort_all,
  .finish = finish,
};
