#include "condi_mpi.h"

#include <dlfcn.h>

const condi_mpi_table *condi_mpi_load(const char *path, const char **problem) {
  // Global, because Open MPI loads components that look up its symbols.
  void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  const condi_mpi_table *table = library == NULL ? NULL : dlsym(library, "condi_mpi_calls");
  if (table == NULL) {
    *problem = dlerror();
    return NULL;
  }
  if (table->version != CONDI_MPI_VERSION) {
    *problem = "it was made for another version of the program; 'make mpi' makes it anew";
    return NULL;
  }
  return table;
}
