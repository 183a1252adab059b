#include "messages.h"

#include <webp/decode.h>

static const char *reason(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY: return "there is not enough memory";
    case VP8_STATUS_NOT_ENOUGH_DATA: return "the file ends too early";
    case VP8_STATUS_UNSUPPORTED_FEATURE: return "it uses a feature that libwebp does not support";
    default: return "its data are damaged";
  }
}

int condi_webp_read_header(const uint8_t *bytes, size_t count, condi_webp_header *header,
                           char message[CONDI_IMAGE_MESSAGE_SIZE]) {
  WebPBitstreamFeatures features;
  VP8StatusCode status = WebPGetFeatures(bytes, count, &features);
  if (status != VP8_STATUS_OK) {
    condi_say(message, reason(status));
    return 0;
  }
  header->width = (uint32_t)features.width;
  header->height = (uint32_t)features.height;
  header->channels = features.has_alpha ? 4 : 3;
  header->is_animated = features.has_animation;
  return 1;
}

int condi_webp_read_samples(const uint8_t *bytes, size_t byte_count,
                            const condi_webp_header *header, uint8_t *samples,
                            char message[CONDI_IMAGE_MESSAGE_SIZE]) {
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config)) {
    condi_say(message, "libwebp has another version than expected");
    return 0;
  }
  size_t stride = (size_t)header->width * (size_t)header->channels;
  config.output.colorspace = header->channels == 4 ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = samples;
  config.output.u.RGBA.stride = (int)stride;
  config.output.u.RGBA.size = stride * header->height;
  VP8StatusCode status = WebPDecode(bytes, byte_count, &config);
  WebPFreeDecBuffer(&config.output);
  if (status == VP8_STATUS_OK) return 1;
  condi_say(message, reason(status));
  return 0;
}
