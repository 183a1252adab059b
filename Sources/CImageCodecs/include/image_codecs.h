// PNG, JPEG and WebP files, through functions that return errors.
//
// libpng and libjpeg report errors by longjmp, which must not cross Swift's stack frames. Each of these
// functions catches its own errors and returns a message. Nothing is printed.

#ifndef IMAGE_CODECS_H
#define IMAGE_CODECS_H

#include <stddef.h>
#include <stdint.h>

// The size of a message in bytes, including its NUL.
#define CONDI_IMAGE_MESSAGE_SIZE 256

// Metadata of a PNG file's image.
typedef struct {
  // Whether there is an sRGB chunk, and its rendering intent, 0 to 3.
  int has_srgb, srgb_intent;
  // Whether there is a gAMA chunk, and its value in units of 1/100000.
  int has_gamma;
  int32_t gamma;
  // Whether there is a cHRM chunk, and x and y of white, red, green and blue in units of 1/100000.
  int has_chromaticities;
  int32_t chromaticities[8];
  // An ICC profile, or NULL. The reader owns the profile it returns.
  const char *profile_name;
  const uint8_t *profile;
  uint32_t profile_size;
  // For writing only: the contents of the chunks cICP (4 bytes), mDCV (24) and cLLI (8), or NULL.
  const uint8_t *code_points, *mastering_display, *light_level;
  // For writing only: whether there is a density, its unit (0: none, 1: metre in PNG files, inch in
  // JPEG files), and pixels per unit.
  int has_density, density_unit;
  uint32_t horizontal_density, vertical_density;
} condi_image_tags;

typedef struct {
  uint32_t width, height;
  // Bits per sample (1, 2, 4, 8 or 16) and samples per pixel (1 to 4) as stored in the file.
  int stored_bit_depth, stored_channels;
  // The same as delivered by 'condi_png_read_samples': 8 or 16 bits; 1 for grey, 2 for grey and
  // alpha, 3 for RGB, 4 for RGB and alpha.
  int bit_depth, channels;
  condi_image_tags tags;
  // libpng's warning about a colour profile that it rejected; empty if there is none. Owned by the
  // reader.
  const char *profile_warning;
} condi_png_header;

typedef struct condi_png_reader condi_png_reader;

// Creates a reader over 'count' bytes, which must stay in place until it is destroyed. Neither side
// of the image may exceed 'side_limit'. Texts and other potentially large chunks are skipped.
// Returns NULL if memory is exhausted.
condi_png_reader *condi_png_reader_create(const uint8_t *bytes, size_t count, uint32_t side_limit);
void condi_png_reader_destroy(condi_png_reader *reader);

// Reads everything before the pixels. Returns 1 for success, or 0 with the reason in 'message'.
int condi_png_read_header(condi_png_reader *reader, condi_png_header *header,
                          char message[CONDI_IMAGE_MESSAGE_SIZE]);

// Reads the pixels and everything after them: row by row, interleaved, 16-bit samples in native
// byte order. 'count' is width * height * channels * bit_depth / 8. Call it once, after the header.
int condi_png_read_samples(condi_png_reader *reader, uint8_t *samples, size_t count,
                           char message[CONDI_IMAGE_MESSAGE_SIZE]);

// An image to be written.
typedef struct {
  uint32_t width, height;
  // Channels as above, and 8 or 16 bits per sample.
  int channels, bit_depth;
  // 1 to 100 for lossy formats; 0 for a WebP file without loss.
  int quality;
  condi_image_tags tags;
} condi_image_description;

typedef struct condi_image_writer condi_image_writer;

// Create a writer of a file; return NULL with the reason in 'message'. What the description points to
// need not outlive the call. PNG files hold every image that can be described. JPEG files hold 1 or 3
// channels of 8 bits, and are written without chroma subsampling; WebP files hold 8 bits, and grey as
// RGB.
condi_image_writer *condi_png_writer_create(const condi_image_description *image,
                                            char message[CONDI_IMAGE_MESSAGE_SIZE]);
condi_image_writer *condi_jpeg_writer_create(const condi_image_description *image,
                                             char message[CONDI_IMAGE_MESSAGE_SIZE]);
condi_image_writer *condi_webp_writer_create(const condi_image_description *image,
                                             char message[CONDI_IMAGE_MESSAGE_SIZE]);

// Adds rows of interleaved samples, those of 16 bits in native byte order. Returns 1 for success, or 0
// with the reason in 'message'.
int condi_image_writer_add(condi_image_writer *writer, const uint8_t *samples, uint32_t row_count,
                           char message[CONDI_IMAGE_MESSAGE_SIZE]);

// Ends the file after its last row.
int condi_image_writer_finish(condi_image_writer *writer, char message[CONDI_IMAGE_MESSAGE_SIZE]);

// Returns the file's bytes since the last call, which stay in place until the writer is used again.
const uint8_t *condi_image_writer_take(condi_image_writer *writer, size_t *count);

void condi_image_writer_destroy(condi_image_writer *writer);

typedef struct {
  uint32_t width, height;
  // 1 for grey, 3 for RGB.
  int channels;
} condi_jpeg_header;

int condi_jpeg_read_header(const uint8_t *bytes, size_t count, condi_jpeg_header *header,
                           char message[CONDI_IMAGE_MESSAGE_SIZE]);

// Reads the pixels, interleaved: width * height * channels bytes. A truncated or damaged file is an
// error, although libjpeg would return a partial image.
int condi_jpeg_read_samples(const uint8_t *bytes, size_t byte_count,
                            const condi_jpeg_header *header, uint8_t *samples,
                            char message[CONDI_IMAGE_MESSAGE_SIZE]);

typedef struct {
  uint32_t width, height;
  // 3 for RGB, 4 for RGB and alpha.
  int channels;
  int is_animated;
} condi_webp_header;

int condi_webp_read_header(const uint8_t *bytes, size_t count, condi_webp_header *header,
                           char message[CONDI_IMAGE_MESSAGE_SIZE]);

// Reads the pixels of a file that is not animated, interleaved: width * height * channels bytes.
int condi_webp_read_samples(const uint8_t *bytes, size_t byte_count,
                            const condi_webp_header *header, uint8_t *samples,
                            char message[CONDI_IMAGE_MESSAGE_SIZE]);

// Returns the version of the loaded libpng.
const char *condi_png_version(void);

// Writes the version of the loaded libjpeg-turbo. Returns 1 for success, or 0 if it is unknown.
int condi_jpeg_version(char version[CONDI_IMAGE_MESSAGE_SIZE]);

// Returns the version of the loaded libwebp: a byte each for major, minor and revision.
int condi_webp_version(void);

#endif
