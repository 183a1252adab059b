// PNG and JPEG files, behind functions that report errors instead of jumping.
//
// libpng reports errors by longjmp, which must not cross Swift's frames: each of these functions
// catches its own and answers with a message. Nothing is printed.

#ifndef IMAGE_CODECS_H
#define IMAGE_CODECS_H

#include <stddef.h>
#include <stdint.h>

// Bytes that a message may take, its NUL included.
#define CONDI_IMAGE_MESSAGE_SIZE 256

// What a PNG file says of its image beside the samples.
typedef struct {
  // Whether there is an sRGB chunk, and its rendering intent from 0 to 3.
  int has_srgb, srgb_intent;
  // Whether there is a gAMA chunk, and its value in 1/100000.
  int has_gamma;
  int32_t gamma;
  // Whether there is a cHRM chunk, and white, red, green, blue as x and y in 1/100000.
  int has_chromaticities;
  int32_t chromaticities[8];
  // An ICC profile, or NULL. The reader owns what it reports.
  const char *profile_name;
  const uint8_t *profile;
  uint32_t profile_size;
  // Only written: contents of the chunks cICP (4 bytes), mDCV (24) and cLLI (8), or NULL.
  const uint8_t *code_points, *mastering_display, *light_level;
  // Only written: whether there is a pHYs chunk, its unit (1: a metre, 0: none) and pixels per unit.
  int has_density, density_unit;
  uint32_t horizontal_density, vertical_density;
} condi_image_tags;

typedef struct {
  uint32_t width, height;
  // Bits of a sample and samples of a pixel, as the file stores them: 1, 2, 4, 8 or 16; 1 to 4.
  int stored_bit_depth, stored_channels;
  // As 'condi_png_read' delivers them: 8 or 16; 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
  int bit_depth, channels;
  condi_image_tags tags;
  // What libpng says of a colour profile that it does not take; empty where it says nothing. The reader
  // owns it.
  const char *profile_warning;
} condi_png_header;

typedef struct condi_png_reader condi_png_reader;

// A reader over 'count' bytes, which must stay where they are until it is destroyed; neither side of the
// image may be longer than 'side_limit'. Texts and other chunks that may become long are passed over.
// NULL when there is no memory.
condi_png_reader *condi_png_reader_create(const uint8_t *bytes, size_t count, uint32_t side_limit);
void condi_png_reader_destroy(condi_png_reader *reader);

// Reads all that precedes the pixels. 1 for success; 0 with the reason in 'message'.
int condi_png_read_header(condi_png_reader *reader, condi_png_header *header,
                          char message[CONDI_IMAGE_MESSAGE_SIZE]);

// Reads the pixels, row by row, interleaved, 16-bit samples in the machine's byte order, and what
// follows them. 'count' is width * height * channels * bit_depth / 8. Once, after the header.
int condi_png_read_samples(condi_png_reader *reader, uint8_t *samples, size_t count,
                           char message[CONDI_IMAGE_MESSAGE_SIZE]);

// Encodes interleaved samples. The caller frees '*output' with 'free'.
int condi_png_write(const uint8_t *samples, uint32_t width, uint32_t height, int channels,
                    int bit_depth, const condi_image_tags *tags, uint8_t **output,
                    size_t *output_count, char message[CONDI_IMAGE_MESSAGE_SIZE]);

typedef struct {
  uint32_t width, height;
  // 1 grey, 3 RGB.
  int channels;
} condi_jpeg_header;

int condi_jpeg_read_header(const uint8_t *bytes, size_t count, condi_jpeg_header *header,
                           char message[CONDI_IMAGE_MESSAGE_SIZE]);

// Reads the pixels, interleaved. 'count' is width * height * channels. A file that ends too early or
// is damaged is an error, though libjpeg would deliver what there is.
int condi_jpeg_read_samples(const uint8_t *bytes, size_t byte_count,
                            const condi_jpeg_header *header, uint8_t *samples, size_t count,
                            char message[CONDI_IMAGE_MESSAGE_SIZE]);

// Encodes interleaved samples of 1 or 3 channels, without subsampling the colours. The caller frees
// '*output' with 'free'.
int condi_jpeg_write(const uint8_t *samples, uint32_t width, uint32_t height, int channels,
                     int quality, uint8_t **output, size_t *output_count,
                     char message[CONDI_IMAGE_MESSAGE_SIZE]);

// The version of libpng in use.
const char *condi_png_version(void);

// Fills in the version of libjpeg-turbo in use. 1 for success, 0 when it cannot be told.
int condi_jpeg_version(char version[CONDI_IMAGE_MESSAGE_SIZE]);

#endif
