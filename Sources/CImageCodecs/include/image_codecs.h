// PNG and JPEG files, behind functions that report errors instead of jumping.

#ifndef IMAGE_CODECS_H
#define IMAGE_CODECS_H

#endif
