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
  // For patches that lie in the image.
  ck_integer_scaling scaling;
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
  if (!ck_integer_scaling_create(
        &convolution->taps->weights, activations, channels * taps, &convolution->scaling)) {
    ck_integer_convolution_destroy(convolution);
    return NULL;
  }
  return convolution;
}

void ck_integer_convolution_destroy(ck_integer_convolution *convolution) {
  if (convolution == NULL) return;
  ck_integer_linear_destroy(convolution->taps);
  free(convolution->scaling.offsets);
  free(convolution);
}

size_t ck_integer_convolution_byte_count(const ck_integer_convolution *convolution) {
  size_t scaling = convolution->scaling.offsets == NULL
    ? 0
    : 3 * sizeof(float) * ck_integer_columns(&convolution->taps->weights);
  return ck_integer_linear_byte_count(convolution->taps) + scaling;
}

size_t ck_integer_convolution_scratch_count(
  const ck_integer_convolution *convolution, size_t pixels) {
  // Besides the bounds, sums of codes: of the pixels, and for a row of the result, of patches and of
  // their columns, which are no more.
  size_t byte_count = pixels *
    (convolution->stride + sizeof(ck_coded_row) + (3 + 2 * convolution->groups) * sizeof(float));
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
  // The sum of each pixel's codes, where bounds are equal for all.
  float *sums;
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

// Sums the codes of each of `count` patches, which lie in the image side by side, with the first
// pixel of the first one at `pixel`. `scratch` has a sum for each column of them.
static void sum_patches(
  const coded_pixels *pixels, size_t pixel, size_t count, float *sums, float *scratch) {
  const ck_convolution_shape *shape = pixels->shape;
  size_t columns = (count - 1) * shape->step + shape->kernel_width;
  const float *first = pixels->sums + pixel;
  memcpy(scratch, first, columns * sizeof(float));
  for (size_t down = 1; down < shape->kernel_height; down++)
    for (size_t column = 0; column < columns; column++)
      scratch[column] += first[down * shape->dilation * pixels->width + column];
  for (size_t index = 0; index < count; index++) {
    float sum = 0;
    for (size_t right = 0; right < shape->kernel_width; right++)
      sum += scratch[index * shape->step + right];
    sums[index] = sum;
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
  float *bounds = (float *)(coded + count), *sums = bounds + 2 * groups * count;
  coded_pixels pixels = {
    shape, height, width, first, (uint8_t *)(sums + 3 * count), coded, sums};
  // The codes after the channels of a pixel are never written.
  if (stride != convolution->channels) memset(pixels.codes, 0, count * stride);
  for (size_t pixel = 0; pixel < count; pixel++) {
    coded[pixel].lower = bounds + 2 * groups * pixel;
    coded[pixel].scale = coded[pixel].lower + groups;
  }
  kernels->code(
    &convolution->activations, convolution->channels, count, x + first * width * x_stride,
    x_stride, pixels.codes, stride, coded, convolution->scaling.offsets == NULL ? NULL : sums);

  // Results whose patches lie in the image, each in runs of pixels.
  bool has_runs = convolution->scaling.offsets != NULL && shape->dilation == 1;
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
    bool is_inside = has_runs && row >= top && row < bottom && left < right;
    for (size_t column = 0; column < output_width;) {
      size_t result = row * output_width + column;
      float *target = y + result * y_stride;
      const float *other = residual == NULL ? NULL : residual + result * residual_stride;
      if (is_inside && column == left) {
        size_t pixel = (row * shape->step - shape->padding_height - first) * width +
          column * shape->step - shape->padding_width;
        float *patch_sums = sums + count;
        sum_patches(&pixels, pixel, right - left, patch_sums, patch_sums + count);
        ck_integer_patches whole = {
          pixels.codes + pixel * stride, shape->step * stride, shape->kernel_height,
          shape->kernel_width * stride / ck_integer_step, width * stride, patch_sums};
        kernels->multiply_patches(
          weights, &convolution->scaling, right - left, &whole, target, y_stride, epilogue, other,
          residual_stride);
        column = right;
        continue;
      }
      size_t limit = is_inside && column < left ? left : output_width;
      size_t batch = ck_integer_batch_rows(weights, patch, kernels->block_rows);
      size_t some = limit - column < batch ? limit - column : batch;
      for (size_t index = 0; index < some; index++) {
        patches[index].lower = lower + index * weights->groups;
        patches[index].scale = scale + index * weights->groups;
        gather(
          convolution, &pixels, row, column + index, codes + index * patch, patches + index);
      }
      kernels->multiply(
        weights, some, codes, patch, patches, target, y_stride, epilogue, other, residual_stride);
      column += some;
    }
  }
}
