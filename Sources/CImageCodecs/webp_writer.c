#include "image_writer.h"

#include <stdlib.h>
#include <string.h>
#include <webp/encode.h>
#include <webp/mux.h>

// libwebp encodes whole images, so all rows are kept until the end, four bytes a pixel.
typedef struct {
  condi_image_writer common;
  WebPConfig config;
  WebPPicture picture;
  uint32_t row;
  int channels;
  uint8_t *profile;
  size_t profile_size;
} writer;

static int fail(writer *state, const char *message) {
  condi_say(state->common.message, message);
  return 0;
}

static int on_write(const uint8_t *bytes, size_t count, const WebPPicture *picture) {
  return condi_image_writer_append(picture->custom_ptr, bytes, count);
}

static int add(condi_image_writer *common, const uint8_t *samples, uint32_t row_count) {
  writer *state = (writer *)common;
  size_t width = (size_t)state->picture.width;
  int channels = state->channels;
  int colors = channels > 2 ? 1 : 0;
  for (uint32_t row = 0; row < row_count; row++, state->row++) {
    uint32_t *target = state->picture.argb + state->row * (size_t)state->picture.argb_stride;
    const uint8_t *pixel = samples + row * common->stride;
    for (size_t column = 0; column < width; column++, pixel += channels) {
      uint32_t alpha = channels % 2 == 0 ? pixel[channels - 1] : 255;
      target[column] = alpha << 24 | (uint32_t)pixel[0] << 16 | (uint32_t)pixel[colors] << 8 |
                       (uint32_t)pixel[2 * colors];
    }
  }
  return 1;
}

// Puts a file with the colour profile in the place of the file without.
static int add_profile(writer *state) {
  WebPData file = {state->common.bytes, state->common.count};
  WebPData profile = {state->profile, state->profile_size};
  WebPData output = {NULL, 0};
  WebPMux *mux = WebPMuxNew();
  int done = mux && WebPMuxSetImage(mux, &file, 1) == WEBP_MUX_OK &&
             WebPMuxSetChunk(mux, "ICCP", &profile, 0) == WEBP_MUX_OK &&
             WebPMuxAssemble(mux, &output) == WEBP_MUX_OK;
  if (done) {
    state->common.count = 0;
    done = condi_image_writer_append(&state->common, output.bytes, output.size);
  }
  WebPDataClear(&output);
  WebPMuxDelete(mux);
  return done ? 1 : fail(state, "there is not enough memory");
}

static int finish(condi_image_writer *common) {
  writer *state = (writer *)common;
  if (!WebPEncode(&state->config, &state->picture)) {
    int is_memory = state->picture.error_code == VP8_ENC_ERROR_OUT_OF_MEMORY ||
                    state->picture.error_code == VP8_ENC_ERROR_BITSTREAM_OUT_OF_MEMORY ||
                    state->picture.error_code == VP8_ENC_ERROR_BAD_WRITE;
    return fail(state, is_memory ? "there is not enough memory" : "libwebp does not encode it");
  }
  WebPPictureFree(&state->picture);
  return state->profile ? add_profile(state) : 1;
}

static void destroy(condi_image_writer *common) {
  writer *state = (writer *)common;
  WebPPictureFree(&state->picture);
  free(state->profile);
}

static int begin(writer *state, const condi_image_description *image) {
  if (!WebPConfigInit(&state->config) || !WebPPictureInit(&state->picture))
    return fail(state, "libwebp has another version than expected");
  if (image->quality > 0) {
    state->config.quality = (float)image->quality;
    state->config.use_sharp_yuv = 1;
  } else {
    state->config.lossless = 1;
    // Colours under transparent pixels as well.
    state->config.exact = 1;
  }
  state->channels = image->channels;
  state->picture.use_argb = 1;
  state->picture.width = (int)image->width;
  state->picture.height = (int)image->height;
  state->picture.writer = on_write;
  state->picture.custom_ptr = &state->common;
  if (!WebPPictureAlloc(&state->picture)) return fail(state, "there is not enough memory");
  if (image->tags.profile) {
    state->profile_size = image->tags.profile_size;
    state->profile = malloc(state->profile_size);
    if (!state->profile) return fail(state, "there is not enough memory");
    memcpy(state->profile, image->tags.profile, state->profile_size);
  }
  return 1;
}

condi_image_writer *condi_webp_writer_create(const condi_image_description *image,
                                             char message[CONDI_IMAGE_MESSAGE_SIZE]) {
  writer *state = condi_image_writer_create(sizeof *state, image, message);
  if (!state) return NULL;
  state->common.add = add;
  state->common.finish = finish;
  state->common.destroy = destroy;
  return condi_image_writer_begun(begin(state, image), &state->common, message);
}
