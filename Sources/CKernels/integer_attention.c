#include <math.h>
#include <string.h>

#include "integer_weights.h"
#include "vector_levels.h"

// Sums of two products of this many levels fit in 16 bits.
static const float most_levels = 15;
// Within these, scores and results are finite.
static const float largest_bound = 1e12f, least_step = 1e-12f;
enum { most_head = 256, most_tokens = 4096 };

static bool takes(const ck_quantizer *quantizer, float most) {
  float levels = quantizer->levels;
  bool is_one_value = quantizer->upper == quantizer->lower;
  return ck_has_levels(levels, most) && quantizer->group_size == 0 &&
    fabsf(quantizer->lower) <= largest_bound && fabsf(quantizer->upper) <= largest_bound &&
    (is_one_value || (quantizer->upper - quantizer->lower) / levels >= least_step);
}

static bool takes_equally(const ck_quantizer *quantizer, float most) {
  return ck_has_equal_bounds(quantizer) && takes(quantizer, most);
}

bool ck_integer_attention_codes(const ck_quantizer *output) {
  return takes_equally(output, 255);
}

bool ck_integer_attention_takes(const ck_integer_attention *attention) {
  return attention->head >= 1 && attention->head <= most_head && attention->tokens >= 1 &&
    attention->tokens <= most_tokens && takes_equally(&attention->query, most_levels) &&
    takes_equally(&attention->key, most_levels) && takes_equally(&attention->value, most_levels) &&
    takes(&attention->probabilities, most_levels);
}

size_t ck_integer_attention_scratch_count(const ck_integer_attention *attention) {
  size_t quads = ck_quads_of(attention->tokens);
  size_t columns = ck_code_stride(attention->heads * attention->head);
  // Values and their sums, then a block of queries, the keys' terms, scores, probabilities, and
  // what aligning each of them takes.
  size_t words = quads * columns + columns + ck_quads_of(attention->head) * ck_attention_block +
    4 * quads + 4 * quads * ck_attention_block + quads * ck_attention_block;
  return words + 6 * 16;
}

static ck_attention_scaling scaling_of(
  const ck_integer_attention *attention, const ck_quantizer *output) {
  const double log2_e = 1.4426950408889634;
  ck_row_coding query = ck_row_coding_of(&attention->query, 1);
  ck_row_coding key = ck_row_coding_of(&attention->key, 1);
  ck_row_coding value = ck_row_coding_of(&attention->value, 1);
  ck_row_coding probability = ck_row_coding_of(&attention->probabilities, 1);
  ck_attention_scaling scaling;
  scaling.query_center = ((int)attention->query.levels + 1) / 2;
  double query_scale = query.scale, key_scale = key.scale, value_scale = value.scale;
  double center = query.lower + query_scale * scaling.query_center;
  scaling.score_step = (float)(log2_e * query_scale * key_scale);
  scaling.key_step = (float)(log2_e * center * key_scale);
  scaling.is_row_scaled = attention->probabilities.is_row_scaled;
  double probability_scale = probability.scale, probability_lower = probability.lower;
  scaling.probability_factor = (float)(1 / probability_scale);
  scaling.probability_offset = (float)(-probability_lower / probability_scale);
  scaling.probability_largest =
    probability.upper > probability.lower ? attention->probabilities.levels : 0;
  double factor = 1, offset = 0;
  scaling.largest = -1;
  if (output != NULL) {
    ck_row_coding coding = ck_row_coding_of(output, 1);
    factor = 1 / (double)coding.scale;
    offset = -(double)coding.lower / (double)coding.scale;
    scaling.largest = coding.upper > coding.lower ? output->levels : 0;
  }
  scaling.value_step = (float)(factor * probability_scale * value_scale);
  scaling.code_step = (float)(factor * probability_scale * (double)value.lower);
  scaling.total_step = (float)(factor * probability_lower * value_scale);
  double constant = factor * probability_lower * (double)value.lower * (double)attention->tokens;
  scaling.is_normalized = attention->probabilities.is_normalized;
  scaling.is_divided = scaling.is_row_scaled || scaling.is_normalized;
  scaling.sum_step = (float)probability_scale;
  scaling.sum_constant = (float)(probability_lower * (double)attention->tokens);
  scaling.constant = (float)(scaling.is_divided ? constant : constant + offset);
  scaling.offset = (float)(scaling.is_divided ? offset : 0);
  return scaling;
}

void ck_integer_attention_apply(
  const ck_integer_attention *attention, const uint8_t *q, const uint8_t *k, const uint8_t *v,
  size_t stride, const float *marks, const float *bias, const float *mask, float *out,
  size_t out_stride, const ck_quantizer *output, const ck_code_rows *coded, float *scratch) {
  ck_attention_scaling scaling = scaling_of(attention, output);
  ck_attention_target target = {out, out_stride, {NULL, 0, NULL}};
  if (output != NULL) target.codes = *coded;
  ck_current_level()->integer->attention(
    attention, &scaling, q, k, v, stride, bias, mask, &target, scratch);
  // A NaN of any token reaches all results through the softmax and the sums.
  float mark = 0;
  for (size_t token = 0; token < attention->tokens; token++) mark += marks[token];
  for (size_t token = 0; token < attention->tokens; token++) {
    if (output != NULL) coded->marks[token] = mark;
    for (size_t column = 0; out != NULL && mark != 0 && column < attention->heads * attention->head; column++)
      out[token * out_stride + column] = NAN;
  }
}
