#ifndef CONDI_JPEG_ERROR_H
#define CONDI_JPEG_ERROR_H

#include "messages.h"

#include <setjmp.h>
#include <stdio.h>

#include <jpeglib.h>

// Where libjpeg's errors go: it ends the program otherwise.
typedef struct {
  struct jpeg_error_mgr manager;
  jmp_buf jump;
  char message[CONDI_IMAGE_MESSAGE_SIZE];
} condi_jpeg_error;

_Static_assert(CONDI_IMAGE_MESSAGE_SIZE >= JMSG_LENGTH_MAX, "libjpeg's messages fit");

// Makes errors jump to `jump`, and warnings as well: they tell of damage.
struct jpeg_error_mgr *condi_jpeg_error_begin(condi_jpeg_error *error);

#endif
