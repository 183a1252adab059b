// The reference for attention on codes.

#include <string.h>

#include "row_sums.h"
#include "scalar_integer.h"

// Replaces `probabilities`, scores, by codes. Returns the sum of the powers.
static float code_probabilities(
  const ck_attention_scaling *scaling, size_t keys, float largest, float *probabilities) {
  float sum = 0;
  for (size_t key = 0; key < keys; key++) {
    probabilities[key] = ck_power_of_two(probabilities[key] - largest);
    sum += probabilities[key];
  }
  float step = scaling->probability_factor;
  if (!scaling->is_row_scaled) step *= 1 / sum;
  for (size_t key = 0; key < keys; key++)
    probabilities[key] = ck_code_of(
      fmaf(probabilities[key], step, scaling->probability_offset), scaling->probability_largest);
  return sum;
}

void ck_scalar_integer_attention(
  const ck_integer_attention *attention, const ck_attention_scaling *scaling, const uint8_t *q,
  const uint8_t *k, const uint8_t *v, size_t stride, const float *bias, const float *mask,
  const ck_attention_target *target, float *scratch) {
  size_t tokens = attention->tokens, head = attention->head;
  float *probabilities = scratch;
  for (size_t index = 0; index < attention->heads; index++, bias += tokens * tokens)
    for (size_t query = 0; query < tokens; query++) {
      size_t column = index * head;
      float largest = -INFINITY;
      for (size_t key = 0; key < tokens; key++) {
        int32_t product = 0, total = 0;
        for (size_t element = column; element < column + head; element++) {
          int32_t code = k[key * stride + element];
          product += ((int32_t)q[query * stride + element] - scaling->query_center) * code;
          total += code;
        }
        float score =
          fmaf((float)product, scaling->score_step, bias[key * tokens + query]);
        score += scaling->key_step * (float)total;
        if (mask != NULL) score += mask[key * tokens + query];
        probabilities[key] = score;
        largest = score > largest ? score : largest;
      }
      float sum = code_probabilities(scaling, tokens, largest, probabilities);
      float code_sum = 0;
      for (size_t key = 0; key < tokens; key++) code_sum += probabilities[key];
      float factor = scaling->is_row_scaled ? 1 / sum : 1;
      if (scaling->is_normalized)
        factor = ck_normalizing_factor(
          fmaf(code_sum, scaling->sum_step, scaling->sum_constant), factor);
      for (size_t element = column; element < column + head; element++) {
        int32_t product = 0, total = 0;
        for (size_t key = 0; key < tokens; key++) {
          product += (int32_t)probabilities[key] * v[key * stride + element];
          total += v[key * stride + element];
        }
        float value = fmaf((float)total, scaling->total_step, scaling->constant);
        value = fmaf(code_sum, scaling->code_step, value);
        value = fmaf((float)product, scaling->value_step, value);
        if (scaling->is_divided) value = fmaf(value, factor, scaling->offset);
        if (scaling->largest < 0)
          target->values[query * target->value_stride + element] = value;
        else
          target->codes.codes[query * target->codes.stride + element] =
            ck_code_of(value, scaling->largest);
      }
    }
}
