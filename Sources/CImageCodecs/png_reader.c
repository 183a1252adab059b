#include "messages.h"

#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

struct condi_png_reader {
  png_structp png;
  png_infop info;
  const uint8_t *bytes;
  size_t count, position;
  uint32_t side_limit;
  int pass_count;
  condi_png_header header;
  char message[CONDI_IMAGE_MESSAGE_SIZE];
  char profile_warning[CONDI_IMAGE_MESSAGE_SIZE];
};

static void on_error(png_structp png, png_const_charp text) {
  condi_png_reader *reader = png_get_error_ptr(png);
  condi_say(reader->message, text);
  png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text) {
  static const char chunk[] = "iCCP: ";
  condi_png_reader *reader = png_get_error_ptr(png);
  if (reader->profile_warning[0] == 0 && strncmp(text, chunk, sizeof chunk - 1) == 0)
    condi_say(reader->profile_warning, text + sizeof chunk - 1);
}

static void on_read(png_structp png, png_bytep target, size_t count) {
  condi_png_reader *reader = png_get_io_ptr(png);
  if (count > reader->count - reader->position) png_error(png, "the file ends too early");
  memcpy(target, reader->bytes + reader->position, count);
  reader->position += count;
}

condi_png_reader *condi_png_reader_create(const uint8_t *bytes, size_t count,
                                          uint32_t side_limit) {
  condi_png_reader *reader = calloc(1, sizeof *reader);
  if (!reader) return NULL;
  reader->bytes = bytes;
  reader->count = count;
  reader->side_limit = side_limit;
  reader->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, reader, on_error, on_warning);
  if (reader->png) reader->info = png_create_info_struct(reader->png);
  if (!reader->info) {
    condi_png_reader_destroy(reader);
    return NULL;
  }
  return reader;
}

void condi_png_reader_destroy(condi_png_reader *reader) {
  if (!reader) return;
  if (reader->png) png_destroy_read_struct(&reader->png, &reader->info, NULL);
  free(reader);
}

static void read_tags(condi_png_reader *reader) {
  condi_image_tags *tags = &reader->header.tags;
  tags->has_srgb = png_get_sRGB(reader->png, reader->info, &tags->srgb_intent) != 0;
  png_fixed_point gamma = 0;
  tags->has_gamma = png_get_gAMA_fixed(reader->png, reader->info, &gamma) != 0;
  tags->gamma = gamma;
  png_fixed_point values[8] = {0};
  tags->has_chromaticities =
      png_get_cHRM_fixed(reader->png, reader->info, &values[0], &values[1], &values[2], &values[3],
                         &values[4], &values[5], &values[6], &values[7]) != 0;
  for (int index = 0; index < 8; index++) tags->chromaticities[index] = values[index];
  png_charp name = NULL;
  png_bytep profile = NULL;
  png_uint_32 size = 0;
  int compression = 0;
  if (png_get_iCCP(reader->png, reader->info, &name, &compression, &profile, &size)) {
    tags->profile_name = name;
    tags->profile = profile;
    tags->profile_size = size;
  }
}

int condi_png_read_header(condi_png_reader *reader, condi_png_header *header,
                          char message[CONDI_IMAGE_MESSAGE_SIZE]) {
  png_structp png = reader->png;
  png_infop info = reader->info;
  if (setjmp(png_jmpbuf(png))) {
    condi_say(message, reader->message);
    return 0;
  }
  // Unused chunks are neither inflated nor stored: a small file can hold a thousand texts of
  // megabytes.
  static const png_byte passed_over[] = "tEXt\0zTXt\0iTXt\0sPLT\0hIST\0pCAL\0sCAL\0eXIf";
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, passed_over, sizeof passed_over / 5);
  png_set_user_limits(png, reader->side_limit, reader->side_limit);
  png_set_read_fn(png, reader, on_read);
  png_read_info(png, info);
  condi_png_header *found = &reader->header;
  found->width = png_get_image_width(png, info);
  found->height = png_get_image_height(png, info);
  found->stored_bit_depth = png_get_bit_depth(png, info);
  found->stored_channels = png_get_channels(png, info);
  // Palettes become RGB, grey of less than 8 bits becomes 8 bits, a transparent colour becomes
  // alpha.
  png_set_expand(png);
  const uint16_t probe = 1;
  if (found->stored_bit_depth == 16 && *(const uint8_t *)&probe == 1) png_set_swap(png);
  reader->pass_count = png_set_interlace_handling(png);
  png_read_update_info(png, info);
  found->bit_depth = png_get_bit_depth(png, info);
  found->channels = png_get_channels(png, info);
  read_tags(reader);
  found->profile_warning = reader->profile_warning;
  *header = *found;
  return 1;
}

int condi_png_read_samples(condi_png_reader *reader, uint8_t *samples, size_t count,
                           char message[CONDI_IMAGE_MESSAGE_SIZE]) {
  png_structp png = reader->png;
  if (setjmp(png_jmpbuf(png))) {
    condi_say(message, reader->message);
    return 0;
  }
  size_t height = reader->header.height;
  size_t stride = png_get_rowbytes(png, reader->info);
  if (stride * height != count) png_error(png, "the rows have another length than announced");
  // An interlaced image is assembled in seven passes over all rows.
  for (int pass = 0; pass < reader->pass_count; pass++)
    for (size_t row = 0; row < height; row++) png_read_row(png, samples + row * stride, NULL);
  png_read_end(png, NULL);
  return 1;
}
