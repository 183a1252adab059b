#include "image_writer.h"
#include "jpeg_error.h"

#include <stdlib.h>

enum { buffer_size = 1 << 16 };

typedef struct {
  condi_image_writer common;
  struct jpeg_compress_struct codec;
  struct jpeg_destination_mgr destination;
  condi_jpeg_error error;
  uint8_t buffer[buffer_size];
} writer;

static void start_output(j_compress_ptr codec) {
  writer *state = codec->client_data;
  state->destination.next_output_byte = state->buffer;
  state->destination.free_in_buffer = buffer_size;
}

static void flush(writer *state, size_t count) {
  if (condi_image_writer_append(&state->common, state->buffer, count)) return;
  condi_say(state->error.message, "there is not enough memory");
  longjmp(state->error.jump, 1);
}

static boolean on_full_buffer(j_compress_ptr codec) {
  flush(codec->client_data, buffer_size);
  start_output(codec);
  return TRUE;
}

static void on_end(j_compress_ptr codec) {
  writer *state = codec->client_data;
  flush(state, buffer_size - state->destination.free_in_buffer);
}

static int fail(writer *state) {
  condi_say(state->common.message, state->error.message);
  return 0;
}

static int begin(writer *state, const condi_image_description *image) {
  struct jpeg_compress_struct *codec = &state->codec;
  if (setjmp(state->error.jump)) return fail(state);
  jpeg_create_compress(codec);
  codec->client_data = state;
  state->destination.init_destination = start_output;
  state->destination.empty_output_buffer = on_full_buffer;
  state->destination.term_destination = on_end;
  codec->dest = &state->destination;
  codec->image_width = image->width;
  codec->image_height = image->height;
  codec->input_components = image->channels;
  codec->in_color_space = image->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_set_defaults(codec);
  jpeg_set_quality(codec, image->quality, TRUE);
  codec->dct_method = JDCT_ISLOW;
  // No chroma subsampling.
  codec->comp_info[0].h_samp_factor = 1;
  codec->comp_info[0].v_samp_factor = 1;
  const condi_image_tags *tags = &image->tags;
  if (tags->has_density) {
    codec->density_unit = (UINT8)tags->density_unit;
    codec->X_density = (UINT16)tags->horizontal_density;
    codec->Y_density = (UINT16)tags->vertical_density;
  }
  jpeg_start_compress(codec, TRUE);
  if (tags->profile) jpeg_write_icc_profile(codec, tags->profile, tags->profile_size);
  return 1;
}

static int add(condi_image_writer *common, const uint8_t *samples, uint32_t row_count) {
  writer *state = (writer *)common;
  if (setjmp(state->error.jump)) return fail(state);
  for (uint32_t row = 0; row < row_count; row++) {
    JSAMPROW line = (JSAMPROW)(samples + row * common->stride);
    jpeg_write_scanlines(&state->codec, &line, 1);
  }
  return 1;
}

static int finish(condi_image_writer *common) {
  writer *state = (writer *)common;
  if (setjmp(state->error.jump)) return fail(state);
  jpeg_finish_compress(&state->codec);
  return 1;
}

static void destroy(condi_image_writer *common) {
  jpeg_destroy_compress(&((writer *)common)->codec);
}

condi_image_writer *condi_jpeg_writer_create(const condi_image_description *image,
                                             char message[CONDI_IMAGE_MESSAGE_SIZE]) {
  writer *state = condi_image_writer_create(sizeof *state, image, message);
  if (!state) return NULL;
  state->common.add = add;
  state->common.finish = finish;
  state->common.destroy = destroy;
  state->codec.err = condi_jpeg_error_begin(&state->error);
  return condi_image_writer_begun(begin(state, image), &state->common, message);
}
