#define _GNU_SOURCE
#include <link.h>
#include <png.h>
#include <string.h>
#include <webp/decode.h>

#include "image_codecs.h"

const char *condi_png_version(void) { return png_get_libpng_ver(NULL); }

int condi_webp_version(void) { return WebPGetDecoderVersion(); }

// libjpeg has no function for its version, but every libjpeg-turbo contains it as a string.
static const char marker[] = "libjpeg-turbo version ";

static int find_version(struct dl_phdr_info *object, size_t size, void *result) {
  (void)size;
  // The program itself has an empty name: the library may be statically linked.
  if (object->dlpi_name[0] != 0 && strstr(object->dlpi_name, "jpeg") == NULL) return 0;
  for (int index = 0; index < object->dlpi_phnum; index++) {
    const ElfW(Phdr) *segment = &object->dlpi_phdr[index];
    if (segment->p_type != PT_LOAD || segment->p_flags != PF_R) continue;
    const char *start = (const char *)(object->dlpi_addr + segment->p_vaddr);
    const char *end = start + segment->p_filesz;
    const char *place = start;
    while ((place = memmem(place, (size_t)(end - place), marker, sizeof marker - 1)) != NULL) {
      place += sizeof marker - 1;
      size_t count = 0;
      while (place + count < end && count < CONDI_IMAGE_MESSAGE_SIZE - 1 &&
             strchr("0123456789.", place[count]) != NULL && place[count] != 0) {
        count++;
      }
      if (count == 0) continue;  // the marker above
      memcpy(result, place, count);
      ((char *)result)[count] = 0;
      return 1;
    }
  }
  return 0;
}

int condi_jpeg_version(char version[CONDI_IMAGE_MESSAGE_SIZE]) {
  return dl_iterate_phdr(find_version, version);
}
