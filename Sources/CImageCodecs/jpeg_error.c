#include "jpeg_error.h"

static void on_error(j_common_ptr codec) {
  condi_jpeg_error *error = (condi_jpeg_error *)codec->err;
  codec->err->format_message(codec, error->message);
  longjmp(error->jump, 1);
}

static void on_message(j_common_ptr codec, int level) {
  if (level < 0) on_error(codec);
}

static void on_output(j_common_ptr codec) { (void)codec; }

struct jpeg_error_mgr *condi_jpeg_error_begin(condi_jpeg_error *error) {
  struct jpeg_error_mgr *manager = jpeg_std_error(&error->manager);
  manager->error_exit = on_error;
  manager->emit_message = on_message;
  manager->output_message = on_output;
  return manager;
}
