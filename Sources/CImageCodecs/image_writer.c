#include "image_writer.h"

#include <stdlib.h>
#include <string.h>

void *condi_image_writer_create(size_t size, const condi_image_description *image,
                                char message[CONDI_IMAGE_MESSAGE_SIZE]) {
  // On the heap, so that a jump cannot leave stale values in registers.
  condi_image_writer *writer = calloc(1, size);
  if (!writer) {
    condi_say(message, "there is not enough memory");
    return NULL;
  }
  writer->stride = (size_t)image->width * (size_t)image->channels * (size_t)(image->bit_depth / 8);
  writer->rows_left = image->height;
  return writer;
}

condi_image_writer *condi_image_writer_begun(int has_begun, condi_image_writer *writer,
                                             char message[CONDI_IMAGE_MESSAGE_SIZE]) {
  if (has_begun) return writer;
  condi_say(message, writer->message);
  condi_image_writer_destroy(writer);
  return NULL;
}

int condi_image_writer_append(condi_image_writer *writer, const void *bytes, size_t count) {
  if (writer->is_taken) {
    writer->count = 0;
    writer->is_taken = 0;
  }
  if (count > writer->capacity - writer->count) {
    size_t capacity = writer->capacity * 2 + count + 4096;
    uint8_t *grown = capacity > writer->capacity ? realloc(writer->bytes, capacity) : NULL;
    if (!grown) return 0;
    writer->bytes = grown;
    writer->capacity = capacity;
  }
  memcpy(writer->bytes + writer->count, bytes, count);
  writer->count += count;
  return 1;
}

int condi_image_writer_add(condi_image_writer *writer, const uint8_t *samples, uint32_t row_count,
                           char message[CONDI_IMAGE_MESSAGE_SIZE]) {
  if (row_count > writer->rows_left) {
    condi_say(message, "there are more rows than announced");
    return 0;
  }
  writer->rows_left -= row_count;
  if (writer->add(writer, samples, row_count)) return 1;
  condi_say(message, writer->message);
  return 0;
}

int condi_image_writer_finish(condi_image_writer *writer,
                              char message[CONDI_IMAGE_MESSAGE_SIZE]) {
  if (writer->rows_left > 0) {
    condi_say(message, "there are fewer rows than announced");
    return 0;
  }
  if (writer->finish(writer)) return 1;
  condi_say(message, writer->message);
  return 0;
}

const uint8_t *condi_image_writer_take(condi_image_writer *writer, size_t *count) {
  *count = writer->is_taken ? 0 : writer->count;
  writer->is_taken = 1;
  return writer->bytes;
}

void condi_image_writer_destroy(condi_image_writer *writer) {
  if (!writer) return;
  writer->destroy(writer);
  free(writer->bytes);
  free(writer);
}
