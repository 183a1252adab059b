#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "integer_weights.h"
#include "vector_levels.h"
#include "weights.h"

// A convolution is the product of its weights [outputs, taps, channels] with patches of pixels. Each
// tap's pixel has groups of its own in the patch: one, or those of the quantizer. So pixels keep the
// bounds that they were coded in, and a pixel outside the image is a group of zeros, whose lower
// bound and scale are zero as well.
struct ck_integer_convolution {
  ck_integer_linear *taps;
  // The same weights for patches that are one group: inside the image, with equal bounds for all.
  ck_integer_weights whole;
  float *totals;
  ck_quantizer activations;
  size_t channels;
  // The distance between the codes of neighbouring pixels; those after `channels` meet weights of
  // zero.
  size_t stride;
  size_t groups;
  size_t tap_count;
};

static size_t groups_of(size_t channels, size_t group_size) {
  return group_size == 0 ? 1 : (channels + group_size - 1) / group_size;
}

static size_t stride_of(size_t channels, size_t group_size) {
  size_t groups = groups_of(channels, group_size);
  size_t count = groups == 1 ? channels : group_size;
  return groups * ((count + ck_integer_step - 1) / ck_integer_step * ck_integer_step);
}

bool ck_integer_convolution_takes(size_t channels, size_t taps, size_t group_size) {
  if (channels < 1 || channels > CK_INTEGER_MOST_INPUTS) return false;
  if (taps < 1 || taps > CK_CONVOLUTION_MOST_TAPS) return false;
  if (group_size != 0 && group_size < channels && group_size % ck_integer_step != 0) return false;
  size_t stride = stride_of(channels, group_size);
  return ck_integer_linear_takes(taps * stride, stride / groups_of(channels, group_size));
}

ck_integer_convolution *ck_integer_convolution_create(
  const uint8_t *codes, unsigned weight_bits, const float *lower, const float *scale,
  const float *bias, size_t outputs, size_t channels, size_t taps,
  const ck_quantizer *activations) {
  size_t group_size = activations->is_row_scaled ? 0 : activations->group_size;
  if (weight_bits < 1 || weight_bits > 8) return NULL;
  if (!ck_integer_convolution_takes(channels, taps, group_size)) return NULL;
  ck_integer_convolution *convolution = calloc(1, sizeof *convolution);
  if (convolution == NULL) return NULL;
  size_t stride = stride_of(channels, group_size);
  convolution->channels = channels;
  convolution->stride = stride;
  convolution->groups = groups_of(channels, group_size);
  convolution->tap_count = taps;
  convolution->activations = *activations;
  // The code that is zero once it is centred.
  size_t inputs = taps * stride;
  uint8_t *ordered = malloc(outputs * inputs + 1);
  if (ordered != NULL) {
    memset(ordered, 1 << (weight_bits - 1), outputs * inputs);
    for (size_t output = 0; output < outputs; output++)
      for (size_t channel = 0; channel < channels; channel++)
        for (size_t tap = 0; tap < taps; tap++)
          ordered[output * inputs + tap * stride + channel] =
            codes[(output * channels + channel) * taps + tap];
    ck_quantizer grouped = *activations;
    grouped.group_size = stride / convolution->groups;
    convolution->taps = ck_integer_linear_create(
      ordered, weight_bits, lower, scale, bias, outputs, inputs, &grouped);
    free(ordered);
  }
  if (convolution->taps == NULL) {
    ck_integer_convolution_destroy(convolution);
    return NULL;
  }
  const ck_integer_weights *weights = &convolution->taps->weights;
  size_t columns = ck_integer_columns(weights);
  convolution->totals = calloc(columns + 1, sizeof(float));
  if (convolution->totals == NULL) {
    ck_integer_convolution_destroy(convolution);
    return NULL;
  }
  for (size_t output = 0; output < outputs; output++) {
    double total = 0;
    for (size_t group = 0; group < weights->groups; group++)
      total += (double)weights->totals[group * columns + output];
    convolution->totals[output] = (float)total;
  }
  convolution->whole = *weights;
  convolution->whole.groups = 1;
  convolution->whole.group_inputs = weights->inputs;
  convolution->whole.totals = convolution->totals;
  return convolution;
}

void ck_integer_convolution_destroy(ck_integer_convolution *convolution) {
  if (convolution == NULL) return;
  ck_integer_linear_destroy(convolution->taps);
  free(convolution->totals);
  free(convolution);
}

size_t ck_integer_convolution_scratch_count(
  const ck_integer_convolution *convolution, size_t pixels) {
  size_t byte_count = pixels *
    (convolution->stride + sizeof(ck_coded_row) + 2 * convolution->groups * sizeof(float));
  return (byte_count + ck_integer_slack + _Alignof(ck_coded_row)) / sizeof(float) + 1;
}

// The pixels on which a band of the result depends.
typedef struct coded_pixels {
  const ck_convolution_shape *shape;
  size_t height;
  size_t width;
  // The first row that is coded.
  size_t first_row;
  uint8_t *codes;
  ck_coded_row *rows;
} coded_pixels;

// Returns the rows of the input from which `rows` rows of the result are made.
static void find_rows(
  const ck_convolution_shape *shape, size_t height, size_t first_row, size_t rows, size_t *first,
  size_t *end) {
  *first = height;
  *end = 0;
  for (size_t row = first_row; row < first_row + rows; row++)
    for (size_t tap = 0; tap < shape->kernel_height; tap++) {
      size_t place = row * shape->step + tap * shape->dilation, found;
      if (!ck_find_pixel(shape->padding, height, shape->padding_height, place, &found)) continue;
      if (found < *first) *first = found;
      if (found + 1 > *end) *end = found + 1;
    }
}

// Collects the codes of a result's taps; `coded` has room for one lower bound and scale per group.
static void gather(
  const ck_integer_convolution *convolution, const coded_pixels *pixels, size_t row,
  size_t column, uint8_t *codes, ck_coded_row *coded) {
  const ck_convolution_shape *shape = pixels->shape;
  size_t stride = convolution->stride, groups = convolution->groups;
  float *lower = coded->lower, *scale = coded->scale;
  coded->sum = 0;
  for (size_t down = 0; down < shape->kernel_height; down++) {
    size_t from_row, from_column;
    bool is_inside = ck_find_pixel(
      shape->padding, pixels->height, shape->padding_height,
      row * shape->step + down * shape->dilation, &from_row);
    for (size_t right = 0; right < shape->kernel_width; right++) {
      if (is_inside &&
          ck_find_pixel(
            shape->padding, pixels->width, shape->padding_width,
            column * shape->step + right * shape->dilation, &from_column)) {
        size_t pixel = (from_row - pixels->first_row) * pixels->width + from_column;
        memcpy(codes, pixels->codes + pixel * stride, stride);
        memcpy(lower, pixels->rows[pixel].lower, groups * sizeof(float));
        memcpy(scale, pixels->rows[pixel].scale, groups * sizeof(float));
        coded->sum += pixels->rows[pixel].sum;
      } else {
        memset(codes, 0, stride);
        memset(lower, 0, groups * sizeof(float));
        memset(scale, 0, groups * sizeof(float));
      }
      codes += stride;
      lower += groups;
      scale += groups;
    }
  }
}

// Collects the codes of a result's taps, which lie in the image and have equal bounds.
static void gather_whole(
  const ck_integer_convolution *convolution, const coded_pixels *pixels, size_t row,
  size_t column, uint8_t *codes, ck_coded_row *coded) {
  const ck_convolution_shape *shape = pixels->shape;
  size_t stride = convolution->stride;
  size_t first = (row * shape->step - shape->padding_height - pixels->first_row) * pixels->width +
    column * shape->step - shape->padding_width;
  size_t run = shape->dilation == 1 ? shape->kernel_width : 1;
  *coded->lower = *pixels->rows[first].lower;
  *coded->scale = *pixels->rows[first].scale;
  coded->sum = 0;
  for (size_t down = 0; down < shape->kernel_height; down++)
    for (size_t right = 0; right < shape->kernel_width; right += run) {
      size_t pixel = first + down * shape->dilation * pixels->width + right * shape->dilation;
      memcpy(codes, pixels->codes + pixel * stride, run * stride);
      for (size_t index = 0; index < run; index++) coded->sum += pixels->rows[pixel + index].sum;
      codes += run * stride;
    }
}

// Finds the results among `count` whose taps all lie among `side` pixels.
static void find_inside(
  const ck_convolution_shape *shape, size_t side, size_t kernel, size_t padding, size_t count,
  size_t *first, size_t *end) {
  size_t reach = shape->dilation * (kernel - 1);
  *first = (padding + shape->step - 1) / shape->step;
  if (*first > count) *first = count;
  *end = side + padding > reach ? (side + padding - reach - 1) / shape->step + 1 : 0;
  if (*end > count) *end = count;
  if (*end < *first) *end = *first;
}

void ck_integer_convolution_apply(
  const ck_integer_convolution *convolution, const ck_convolution_shape *shape, size_t height,
  size_t width, size_t first_row, size_t rows, const float *x, size_t x_stride, float *y,
  size_t y_stride, ck_epilogue epilogue, const float *residual, size_t residual_stride,
  float *scratch) {
  if (rows == 0) return;
  const ck_integer_table *kernels = ck_current_level()->integer;
  const ck_integer_weights *weights = &convolution->taps->weights;
  size_t groups = convolution->groups, stride = convolution->stride;
  size_t patch = weights->inputs;

  // Code every pixel once.
  size_t first, end;
  find_rows(shape, height, first_row, rows, &first, &end);
  size_t count = end > first ? (end - first) * width : 0;
  uintptr_t place = ((uintptr_t)scratch + _Alignof(ck_coded_row) - 1) / _Alignof(ck_coded_row) *
    _Alignof(ck_coded_row);
  ck_coded_row *coded = (ck_coded_row *)place;
  float *bounds = (float *)(coded + count);
  coded_pixels pixels = {
    shape, height, width, first, (uint8_t *)(bounds + 2 * groups * count), coded};
  // The codes after the channels of a pixel are never written.
  if (stride != convolution->channels) memset(pixels.codes, 0, count * stride);
  for (size_t pixel = 0; pixel < count; pixel++) {
    coded[pixel].lower = bounds + 2 * groups * pixel;
    coded[pixel].scale = coded[pixel].lower + groups;
  }
  kernels->code(
    &convolution->activations, convolution->channels, count, x + first * width * x_stride,
    x_stride, pixels.codes, stride, coded);

  // Results whose patches are one group.
  bool has_equal_bounds =
    !convolution->activations.is_row_scaled && convolution->activations.group_size == 0;
  size_t output_width =
    ck_output_side(shape, width, shape->kernel_width, shape->padding_width);
  size_t output_height =
    ck_output_side(shape, height, shape->kernel_height, shape->padding_height);
  size_t top, bottom, left, right;
  find_inside(
    shape, height, shape->kernel_height, shape->padding_height, output_height, &top, &bottom);
  find_inside(shape, width, shape->kernel_width, shape->padding_width, output_width, &left, &right);

  _Alignas(64) uint8_t codes[ck_integer_batch];
  float lower[ck_integer_most_groups], scale[ck_integer_most_groups];
  ck_coded_row patches[ck_integer_most_rows];
  for (size_t row = first_row; row < first_row + rows; row++) {
    bool is_inside = has_equal_bounds && row >= top && row < bottom && left < right;
    for (size_t column = 0; column < output_width;) {
      bool is_whole = is_inside && column >= left && column < right;
      size_t limit = is_whole ? right : is_inside && column < left ? left : output_width;
      const ck_integer_weights *used = is_whole ? &convolution->whole : weights;
      size_t batch = ck_integer_batch_rows(used, patch, kernels->block_rows);
      size_t some = limit - column < batch ? limit - column : batch;
      for (size_t index = 0; index < some; index++) {
        patches[index].lower = lower + index * used->groups;
        patches[index].scale = scale + index * used->groups;
        (is_whole ? gather_whole : gather)(
          convolution, &pixels, row, column + index, codes + index * patch, patches + index);
      }
      size_t result = row * output_width + column;
      kernels->multiply(
        used, some, codes, patch, patches, y + result * y_stride, y_stride, epilogue,
        residual == NULL ? NULL : residual + result * residual_stride, residual_stride);
      column += some;
    }
  }
}
