#ifndef CONDI_IMAGE_WRITER_H
#define CONDI_IMAGE_WRITER_H

#include "messages.h"

// What every writer has; a format's own state begins with it.
struct condi_image_writer {
  // Both return 1 for success, or 0 with the reason in `message`.
  int (*add)(condi_image_writer *writer, const uint8_t *samples, uint32_t row_count);
  int (*finish)(condi_image_writer *writer);
  // Frees what the format has, but not the writer.
  void (*destroy)(condi_image_writer *writer);
  // The bytes of a row, and the rows that are missing.
  size_t stride;
  uint32_t rows_left;
  // What has been written and not been taken.
  uint8_t *bytes;
  size_t count, capacity;
  int is_taken;
  char message[CONDI_IMAGE_MESSAGE_SIZE];
};

// Appends bytes to the output. Returns 0 if memory is exhausted.
int condi_image_writer_append(condi_image_writer *writer, const void *bytes, size_t count);

// Returns a format's state of `size` bytes, zeros but for the common part; NULL if memory is exhausted,
// which it says.
void *condi_image_writer_create(size_t size, const condi_image_description *image,
                                char message[CONDI_IMAGE_MESSAGE_SIZE]);

// Returns a writer whose file has begun. Otherwise it says the writer's reason, destroys the writer and
// returns NULL.
condi_image_writer *condi_image_writer_begun(int has_begun, condi_image_writer *writer,
                                             char message[CONDI_IMAGE_MESSAGE_SIZE]);

#endif
