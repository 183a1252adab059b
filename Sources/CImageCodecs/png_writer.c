#include "image_writer.h"

#include <png.h>
#include <setjmp.h>
#include <stdlib.h>

typedef struct {
  condi_image_writer common;
  png_structp png;
  png_infop info;
} writer;

static void on_error(png_structp png, png_const_charp text) {
  writer *state = png_get_error_ptr(png);
  condi_say(state->common.message, text);
  png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text) {
  (void)png;
  (void)text;
}

static void on_write(png_structp png, png_bytep bytes, size_t count) {
  writer *state = png_get_io_ptr(png);
  if (!condi_image_writer_append(&state->common, bytes, count))
    png_error(png, "there is not enough memory");
}

static void on_flush(png_structp png) { (void)png; }

static void set_tags(writer *state, const condi_image_tags *tags) {
  if (tags->has_gamma) png_set_gAMA_fixed(state->png, state->info, tags->gamma);
  if (tags->has_chromaticities) {
    const int32_t *value = tags->chromaticities;
    png_set_cHRM_fixed(state->png, state->info, value[0], value[1], value[2], value[3], value[4],
                       value[5], value[6], value[7]);
  }
  if (tags->has_density) {
    png_set_pHYs(state->png, state->info, tags->horizontal_density, tags->vertical_density,
                 tags->density_unit);
  }
  // A file contains at most one of these two chunks.
  if (tags->profile) {
    png_set_iCCP(state->png, state->info, tags->profile_name, PNG_COMPRESSION_TYPE_BASE,
                 tags->profile, tags->profile_size);
  } else if (tags->has_srgb) {
    png_set_sRGB(state->png, state->info, tags->srgb_intent);
  }
}

// Writes chunks that older versions of libpng do not know, before the pixels.
static void write_chunks(writer *state, const condi_image_tags *tags) {
  png_structp png = state->png;
  if (tags->code_points) png_write_chunk(png, (png_const_bytep)"cICP", tags->code_points, 4);
  if (tags->mastering_display)
    png_write_chunk(png, (png_const_bytep)"mDCV", tags->mastering_display, 24);
  if (tags->light_level) png_write_chunk(png, (png_const_bytep)"cLLI", tags->light_level, 8);
}

static int begin(writer *state, const condi_image_description *image) {
  static const int color_types[] = {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA,
                                    PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGB_ALPHA};
  png_structp png = state->png;
  if (setjmp(png_jmpbuf(png))) return 0;
  png_set_write_fn(png, state, on_write, on_flush);
  png_set_user_limits(png, 0x7FFFFFFF, 0x7FFFFFFF);
  // Fixed, so that an image always yields the same file.
  png_set_compression_level(png, 6);
  png_set_IHDR(png, state->info, image->width, image->height, image->bit_depth,
               color_types[image->channels - 1], PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  set_tags(state, &image->tags);
  png_write_info(png, state->info);
  write_chunks(state, &image->tags);
  const uint16_t probe = 1;
  if (image->bit_depth == 16 && *(const uint8_t *)&probe == 1) png_set_swap(png);
  return 1;
}

static int add(condi_image_writer *common, const uint8_t *samples, uint32_t row_count) {
  writer *state = (writer *)common;
  if (setjmp(png_jmpbuf(state->png))) return 0;
  for (uint32_t row = 0; row < row_count; row++)
    png_write_row(state->png, samples + row * common->stride);
  return 1;
}

static int finish(condi_image_writer *common) {
  writer *state = (writer *)common;
  if (setjmp(png_jmpbuf(state->png))) return 0;
  png_write_end(state->png, state->info);
  return 1;
}

static void destroy(condi_image_writer *common) {
  writer *state = (writer *)common;
  if (state->png) png_destroy_write_struct(&state->png, &state->info);
}

condi_image_writer *condi_png_writer_create(const condi_image_description *image,
                                            char message[CONDI_IMAGE_MESSAGE_SIZE]) {
  writer *state = condi_image_writer_create(sizeof *state, image, message);
  if (!state) return NULL;
  state->common.add = add;
  state->common.finish = finish;
  state->common.destroy = destroy;
  condi_say(state->common.message, "there is not enough memory");
  state->png = png_create_write_struct(PNG_LIBPNG_VER_STRING, state, on_error, on_warning);
  if (state->png) state->info = png_create_info_struct(state->png);
  return condi_image_writer_begun(state->info && begin(state, image), &state->common, message);
}
