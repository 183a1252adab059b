// The entry point of LLVM's libFuzzer for programs that have a `main` of their own.
#ifndef CONDI_LIBFUZZER_H
#define CONDI_LIBFUZZER_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*callback)(const uint8_t *data, size_t size));

#endif
