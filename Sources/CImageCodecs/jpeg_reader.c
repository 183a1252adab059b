#include "jpeg_error.h"

#include <stdlib.h>
#include <string.h>

// A small file of many scans would take hours.
enum { scan_limit = 500 };

typedef struct {
  struct jpeg_decompress_struct codec;
  struct jpeg_progress_mgr progress;
  condi_jpeg_error error;
} reader;

static void on_progress(j_common_ptr codec) {
  reader *state = (reader *)codec;
  if (state->codec.input_scan_number <= scan_limit) return;
  snprintf(state->error.message, sizeof state->error.message,
           "Progressive JPEG image has more than %d scans", scan_limit);
  longjmp(state->error.jump, 1);
}

// Reads everything before the pixels.
static int begin(reader *state, const uint8_t *bytes, size_t count, condi_jpeg_header *header) {
  struct jpeg_decompress_struct *codec = &state->codec;
  jpeg_create_decompress(codec);
  state->progress.progress_monitor = on_progress;
  codec->progress = &state->progress;
  jpeg_mem_src(codec, bytes, count);
  jpeg_read_header(codec, TRUE);
  if (codec->jpeg_color_space == JCS_CMYK || codec->jpeg_color_space == JCS_YCCK) {
    condi_say(state->error.message, "it has CMYK colours; only grey and RGB images are read");
    return 0;
  }
  header->width = codec->image_width;
  header->height = codec->image_height;
  header->channels = codec->jpeg_color_space == JCS_GRAYSCALE ? 1 : 3;
  return 1;
}

static int read_samples(reader *state, const condi_jpeg_header *header, uint8_t *samples) {
  struct jpeg_decompress_struct *codec = &state->codec;
  codec->out_color_space = header->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  codec->dct_method = JDCT_ISLOW;
  jpeg_start_decompress(codec);
  size_t stride = (size_t)header->width * (size_t)header->channels;
  while (codec->output_scanline < codec->output_height) {
    JSAMPROW row = samples + codec->output_scanline * stride;
    jpeg_read_scanlines(codec, &row, 1);
  }
  jpeg_finish_decompress(codec);
  return 1;
}

// Reads the header, which must be the one that was read before, and the samples.
static int read_whole(reader *state, const uint8_t *bytes, size_t count, condi_jpeg_header *header,
                      const condi_jpeg_header *expected, uint8_t *samples) {
  if (!begin(state, bytes, count, header)) return 0;
  if (memcmp(header, expected, sizeof *header) == 0) return read_samples(state, expected, samples);
  condi_say(state->error.message, "the rows have another length than announced");
  return 0;
}

// Reads a header, and samples if there is room for them.
static int read(const uint8_t *bytes, size_t count, condi_jpeg_header *header, uint8_t *samples,
                char message[CONDI_IMAGE_MESSAGE_SIZE]) {
  reader *state = calloc(1, sizeof *state);
  if (!state) {
    condi_say(message, "there is not enough memory");
    return 0;
  }
  state->codec.err = condi_jpeg_error_begin(&state->error);
  int done = 0;
  condi_jpeg_header found = *header;
  // After a jump nothing is done, whatever was before.
  if (setjmp(state->error.jump) == 0) {
    done = samples ? read_whole(state, bytes, count, &found, header, samples)
                   : begin(state, bytes, count, header);
  } else {
    done = 0;
  }
  if (!done) condi_say(message, state->error.message);
  jpeg_destroy_decompress(&state->codec);
  free(state);
  return done;
}

int condi_jpeg_read_header(const uint8_t *bytes, size_t count, condi_jpeg_header *header,
                           char message[CONDI_IMAGE_MESSAGE_SIZE]) {
  return read(bytes, count, header, NULL, message);
}

int condi_jpeg_read_samples(const uint8_t *bytes, size_t byte_count,
                            const condi_jpeg_header *header, uint8_t *samples,
                            char message[CONDI_IMAGE_MESSAGE_SIZE]) {
  condi_jpeg_header expected = *header;
  return read(bytes, byte_count, &expected, samples, message);
}
