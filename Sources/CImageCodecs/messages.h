#ifndef CONDI_MESSAGES_H
#define CONDI_MESSAGES_H

#include "image_codecs.h"
#include <stdio.h>

// Copies 'text' to 'message', truncated if necessary.
static inline void condi_say(char message[CONDI_IMAGE_MESSAGE_SIZE], const char *text) {
  snprintf(message, CONDI_IMAGE_MESSAGE_SIZE, "%s", text ? text : "unknown error");
}

#endif
