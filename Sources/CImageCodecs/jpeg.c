#include "messages.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

// The TurboJPEG functions return errors; libjpeg's own jumps do not leave them.

static int fail(tjhandle handle, char message[CONDI_IMAGE_MESSAGE_SIZE]) {
  condi_say(message, tjGetErrorStr2(handle));
  if (handle) tjDestroy(handle);
  return 0;
}

int condi_jpeg_read_header(const uint8_t *bytes, size_t count, condi_jpeg_header *header,
                           char message[CONDI_IMAGE_MESSAGE_SIZE]) {
  tjhandle handle = tjInitDecompress();
  if (!handle) return fail(NULL, message);
  int width = 0, height = 0, subsampling = 0, colorspace = 0;
  if (tjDecompressHeader3(handle, bytes, count, &width, &height, &subsampling, &colorspace) != 0)
    return fail(handle, message);
  tjDestroy(handle);
  if (colorspace == TJCS_CMYK || colorspace == TJCS_YCCK) {
    condi_say(message, "it has CMYK colours; only grey and RGB images are read");
    return 0;
  }
  if (width <= 0 || height <= 0) {
    condi_say(message, "it has no pixels");
    return 0;
  }
  header->width = (uint32_t)width;
  header->height = (uint32_t)height;
  header->channels = colorspace == TJCS_GRAY ? 1 : 3;
  return 1;
}

int condi_jpeg_read_samples(const uint8_t *bytes, size_t byte_count,
                            const condi_jpeg_header *header, uint8_t *samples, size_t count,
                            char message[CONDI_IMAGE_MESSAGE_SIZE]) {
  if ((size_t)header->width * header->height * (size_t)header->channels != count) {
    condi_say(message, "the rows have another length than announced");
    return 0;
  }
  tjhandle handle = tjInitDecompress();
  if (!handle) return fail(NULL, message);
  int flags = TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS;
  int format = header->channels == 1 ? TJPF_GRAY : TJPF_RGB;
  if (tjDecompress2(handle, bytes, byte_count, samples, (int)header->width, 0,
                    (int)header->height, format, flags) != 0)
    return fail(handle, message);
  tjDestroy(handle);
  return 1;
}

int condi_jpeg_write(const uint8_t *samples, uint32_t width, uint32_t height, int channels,
                     int quality, uint8_t **output, size_t *output_count,
                     char message[CONDI_IMAGE_MESSAGE_SIZE]) {
  tjhandle handle = tjInitCompress();
  if (!handle) return fail(NULL, message);
  unsigned char *encoded = NULL;
  unsigned long size = 0;
  int format = channels == 1 ? TJPF_GRAY : TJPF_RGB;
  int subsampling = channels == 1 ? TJSAMP_GRAY : TJSAMP_444;
  int result = tjCompress2(handle, samples, (int)width, 0, (int)height, format, &encoded, &size,
                           subsampling, quality, TJFLAG_ACCURATEDCT);
  uint8_t *copy = result == 0 ? malloc(size) : NULL;
  if (copy) memcpy(copy, encoded, size);
  tjFree(encoded);
  if (!copy) {
    if (result != 0) return fail(handle, message);
    tjDestroy(handle);
    condi_say(message, "there is not enough memory");
    return 0;
  }
  tjDestroy(handle);
  *output = copy;
  *output_count = size;
  return 1;
}
