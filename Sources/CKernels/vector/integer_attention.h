// Attention on codes. As in attention.h, a vector holds several queries, whose codes, four elements at a
// time, are multiplied like a panel of weights by those of keys; and so are the codes of their
// probabilities, four keys at a time, by those of values.
//
// Each float operation is that of scalar_integer_attention.c, so that results are the same.

enum {
  query_block = integer_group_vectors * CK_WIDTH,
  key_rows = 4,
  // The steps whose products surely fit in 16 bits, two in each: 2 · 15 · 15 · 64 < 2¹⁵.
  safe_quads = 64,
};

// 2ʳ for |r| ≤ ½.
CK_INLINE vector power_of_fraction(vector r) {
  vector p = fused(splat(CK_POWER_4), r, splat(CK_POWER_3));
  p = fused(p, r, splat(CK_POWER_2));
  p = fused(p, r, splat(CK_POWER_1));
  return fused(p, r, splat(1));
}

// 2ˣ for x ≤ 0, with a relative error of at most 4e-6 above −126, and at most 2⁻¹²⁶ below.
CK_INLINE vector power_of_two(vector x) {
#if CK_WIDTH == 16 && !defined(CK_EMULATE_AVX512)
  vector n = (vector)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT);
  vector q = power_of_fraction(x - n);
  // Less than 2⁻¹²⁶ has the same codes, and does not change the sum, which is at least 1.
  return (vector)_mm512_scalef_ps((__m512)q, (__m512)n);
#else
  vector clipped = x < splat(-126) ? splat(-126) : x;
  vector shifted = clipped + splat(0x1.8p23f);
  vector p = power_of_fraction(clipped - (shifted - splat(0x1.8p23f)));
  int_vector exponent = __builtin_bit_cast(int_vector, shifted) << 23;
  return __builtin_bit_cast(vector, __builtin_bit_cast(int_vector, p) + exponent);
#endif
}

// Adds up the products of `steps` steps of four codes, those of a panel of queries and those of `rows`
// rows, `stride` bytes apart, whose steps are `step` bytes apart.
CK_INLINE void sum_all_quads(
  int rows, size_t steps, const uint8_t *codes, size_t stride, size_t step, const int8_t *panel,
  int_vector sums[][integer_group_vectors]) {
  clear_sums(rows, integer_group_vectors, sums);
  add_some_quads(
    rows, integer_group_vectors, code_whole, steps, safe_quads, codes, stride, step, panel,
    4 * query_block, 4 * CK_WIDTH, sums);
}

// Stores four elements of every token's value under one another, [quad of tokens, column, 4], and adds
// up the values of each column. `columns` is a multiple of 16.
static void transpose_values(
  size_t tokens, size_t columns, const uint8_t *v, size_t stride, uint8_t *values,
  int32_t *totals) {
  const __m128i ones = _mm_set1_epi8(1), wide_ones = _mm_set1_epi16(1);
  size_t quads = ck_quads_of(tokens);
  for (size_t column = 0; column < columns; column += 16) {
    __m128i sums[4] = {
      _mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
    for (size_t quad = 0; quad < quads; quad++) {
      __m128i rows[4];
      for (size_t part = 0; part < 4; part++) {
        size_t token = quad * 4 + part;
        rows[part] = token < tokens
          ? _mm_loadu_si128((const __m128i *)(v + token * stride + column))
          : _mm_setzero_si128();
      }
      __m128i low = _mm_unpacklo_epi8(rows[0], rows[1]);
      __m128i high = _mm_unpackhi_epi8(rows[0], rows[1]);
      __m128i other_low = _mm_unpacklo_epi8(rows[2], rows[3]);
      __m128i other_high = _mm_unpackhi_epi8(rows[2], rows[3]);
      __m128i mixed[4] = {
        _mm_unpacklo_epi16(low, other_low), _mm_unpackhi_epi16(low, other_low),
        _mm_unpacklo_epi16(high, other_high), _mm_unpackhi_epi16(high, other_high)};
      __m128i *target = (__m128i *)(values + (quad * columns + column) * 4);
      for (size_t part = 0; part < 4; part++) {
        _mm_storeu_si128(target + part, mixed[part]);
        __m128i pairs = _mm_maddubs_epi16(mixed[part], ones);
        sums[part] = _mm_add_epi32(sums[part], _mm_madd_epi16(pairs, wide_ones));
      }
    }
    for (size_t part = 0; part < 4; part++)
      _mm_storeu_si128((__m128i *)(totals + column) + part, sums[part]);
  }
}

// Stores the centred codes of `count` queries as a panel, [quad of elements, query, 4], with zeros beyond
// the head and the queries.
static void pack_queries(
  size_t count, size_t head, int center, const uint8_t *q, size_t stride, int8_t *panel) {
  size_t quads = ck_quads_of(head);
  for (size_t quad = 0; quad < quads; quad++) {
    int8_t *target = panel + quad * 4 * query_block;
    for (size_t query = 0; query < count; query++)
      memcpy(target + 4 * query, q + query * stride + 4 * quad, 4);
    if (count < query_block) memset(target + 4 * count, 0, 4 * (query_block - count));
    size_t elements = head - quad * 4;
    uint32_t kept = elements < 4 ? ((uint32_t)1 << (8 * elements)) - 1 : UINT32_MAX;
    for (size_t index = 0; index < 4 * query_block; index += 4 * CK_WIDTH) {
      int_vector codes;
      memcpy(&codes, target + index, sizeof codes);
      codes = less_center(codes, center) & (int_vector)(int)kept;
      memcpy(target + index, &codes, sizeof codes);
    }
  }
}

// Returns a vector of terms, one for each of a block's queries.
CK_INLINE vector query_terms(bool is_full, const float *terms, int index, size_t count) {
  return is_full ? load(terms + index * CK_WIDTH) : load_part(terms, index, count);
}

// Computes the scores of `rows` keys, and the largest score of each query.
//
// `is_full`: whether `count` is that of a whole block.
CK_INLINE void score_quads(
  int rows, bool is_full, size_t head, const int8_t *panel, const uint8_t *k, size_t stride, float step,
  const float *terms, const float *bias, const float *mask, size_t queries, size_t count,
  float *scores, vector *largest) {
  int_vector sums[key_rows][integer_group_vectors];
  sum_all_quads(rows, ck_quads_of(head), k, stride, 4, panel, sums);
#pragma clang loop unroll(full)
  for (int row = 0; row < rows; row++)
#pragma clang loop unroll(full)
    for (int index = 0; index < integer_group_vectors; index++) {
      size_t place = (size_t)row * queries;
      vector first = query_terms(is_full, bias + place, index, count);
      vector score = fused(__builtin_convertvector(sums[row][index], vector), splat(step), first);
      score += splat(terms[row]);
      if (mask != NULL) score += query_terms(is_full, mask + place, index, count);
      largest[index] = larger(score, largest[index]);
      store(scores + (row * integer_group_vectors + index) * CK_WIDTH, score);
    }
}

// Computes the scores of all keys for a block of queries, and the largest of each query.
CK_INLINE void score_block(
  bool is_full, const ck_attention_scaling *scaling, size_t tokens, size_t head,
  const int8_t *queries, const uint8_t *k, size_t stride, const float *terms, const float *bias,
  const float *mask, size_t count, float *scores, vector *largest) {
#pragma clang loop unroll(full)
  for (int part = 0; part < integer_group_vectors; part++) largest[part] = splat(-INFINITY);
#define SCORE(rows) \
  score_quads( \
    rows, is_full, head, queries, k + key * stride, stride, scaling->score_step, terms + key, \
    bias + key * tokens, mask == NULL ? NULL : mask + key * tokens, tokens, count, \
    scores + key * query_block, largest)
  size_t key = 0;
  for (; key + key_rows <= tokens; key += key_rows) SCORE(key_rows);
  for (; key < tokens; key++) SCORE(1);
#undef SCORE
}

// Replaces scores by codes of probabilities, [quad of keys, query, 4], and adds these up. `factors` become
// those of results.
CK_INLINE void code_probabilities(
  const ck_attention_scaling *scaling, size_t keys, float *scores, const vector *largest,
  int8_t *panel, vector *factors, vector *code_sums) {
  vector sums[integer_group_vectors];
#pragma clang loop unroll(full)
  for (int index = 0; index < integer_group_vectors; index++) sums[index] = splat(0);
  for (size_t key = 0; key < keys; key++)
#pragma clang loop unroll(full)
    for (int index = 0; index < integer_group_vectors; index++) {
      float *place = scores + key * query_block + index * CK_WIDTH;
      vector power = power_of_two(load(place) - largest[index]);
      sums[index] += power;
      store(place, power);
    }
  // The largest power is 1, so each one equals its probability over the largest.
  vector steps[integer_group_vectors];
  code_products totals[integer_group_vectors];
#pragma clang loop unroll(full)
  for (int index = 0; index < integer_group_vectors; index++) {
    factors[index] = splat(1) / sums[index];
    steps[index] = splat(scaling->probability_factor);
    if (!scaling->is_row_scaled) steps[index] *= factors[index];
    totals[index] = no_products();
  }
  const code_products ones = four_codes((const uint8_t[]){1, 1, 1, 1}, code_whole);
  const vector offset = splat(scaling->probability_offset);
  const vector limit = splat(scaling->probability_largest);
  size_t quads = ck_quads_of(keys);
  for (size_t quad = 0; quad < quads; quad++)
#pragma clang loop unroll(full)
    for (int index = 0; index < integer_group_vectors; index++) {
      int_vector packed = (int_vector)0;
#pragma clang loop unroll(full)
      for (int part = 0; part < 4; part++) {
        if (quad * 4 + (size_t)part >= keys) break;
        vector power = load(scores + (quad * 4 + (size_t)part) * query_block + index * CK_WIDTH);
        packed |= codes_of(fused(power, steps[index], offset), limit) << (8 * part);
      }
      memcpy(panel + (quad * query_block + (size_t)index * CK_WIDTH) * 4, &packed, sizeof packed);
      totals[index] = add_quads(totals[index], ones, __builtin_bit_cast(code_products, packed));
    }
#pragma clang loop unroll(full)
  for (int index = 0; index < integer_group_vectors; index++) {
    code_sums[index] = __builtin_convertvector(sums_of_quads(totals[index], code_whole), vector);
    if (!scaling->is_row_scaled) factors[index] = splat(1);
    if (scaling->is_normalized)
      factors[index] = normalizing_factor(
        fused(code_sums[index], splat(scaling->sum_step), splat(scaling->sum_constant)),
        factors[index]);
  }
}

// Computes `rows` elements of the results of `count` queries, beginning with column `column`.
CK_INLINE void mix_values(
  int rows, const ck_attention_scaling *scaling, size_t keys, size_t columns,
  const int8_t *panel, const uint8_t *values, const int32_t *totals, size_t column,
  const vector *factors, const vector *code_sums, size_t count,
  const ck_attention_target *target, size_t query) {
  int_vector sums[key_rows][integer_group_vectors];
  sum_all_quads(rows, ck_quads_of(keys), values + 4 * column, 4, 4 * columns, panel, sums);
  _Alignas(64) float results[key_rows][query_block];
  _Alignas(64) int packed[query_block];
#pragma clang loop unroll(full)
  for (int index = 0; index < integer_group_vectors; index++) {
    int_vector codes = (int_vector)0;
#pragma clang loop unroll(full)
    for (int row = 0; row < rows; row++) {
      vector value = splat(
        fmaf((float)totals[column + (size_t)row], scaling->total_step, scaling->constant));
      value = fused(code_sums[index], splat(scaling->code_step), value);
      value =
        fused(__builtin_convertvector(sums[row][index], vector), splat(scaling->value_step), value);
      if (scaling->is_divided) value = fused(value, factors[index], splat(scaling->offset));
      if (scaling->largest < 0)
        store(results[row] + index * CK_WIDTH, value);
      else
        codes |= codes_of(value, splat(scaling->largest)) << (8 * row);
    }
    memcpy(packed + index * CK_WIDTH, &codes, sizeof codes);
  }
  if (scaling->largest < 0) {
    for (size_t index = 0; index < count; index++)
      for (int row = 0; row < rows; row++)
        target->values[(query + index) * target->value_stride + column + (size_t)row] =
          results[row][index];
    return;
  }
  uint8_t *place = target->codes.codes + query * target->codes.stride + column;
  for (size_t index = 0; index < count; index++, place += target->codes.stride)
    memcpy(place, packed + index, (size_t)rows);
}

CK_INLINE void *aligned(void *place) {
  return (void *)(((uintptr_t)place + 63) / 64 * 64);
}

static void integer_attention(
  const ck_integer_attention *attention, const ck_attention_scaling *scaling, const uint8_t *q,
  const uint8_t *k, const uint8_t *v, size_t stride, const float *bias, const float *mask,
  const ck_attention_target *target, float *scratch) {
  size_t tokens = attention->tokens, head = attention->head, quads = ck_quads_of(tokens);
  size_t columns = ck_code_stride(attention->heads * head);
  uint8_t *values = aligned(scratch);
  int32_t *totals = aligned(values + quads * columns * 4);
  int8_t *queries = aligned(totals + columns);
  float *terms = aligned(queries + ck_quads_of(head) * 4 * query_block);
  float *scores = aligned(terms + tokens);
  int8_t *probabilities = aligned(scores + tokens * query_block);
  transpose_values(tokens, columns, v, stride, values, totals);
  for (size_t index = 0; index < attention->heads; index++, bias += tokens * tokens) {
    size_t column = index * head;
    for (size_t key = 0; key < tokens; key++)
      terms[key] = scaling->key_step * (float)sum_of_codes(k + key * stride + column, head);
    for (size_t query = 0; query < tokens; query += query_block) {
      size_t count = tokens - query < query_block ? tokens - query : query_block;
      pack_queries(
        count, head, scaling->query_center, q + query * stride + column, stride, queries);
      vector largest[integer_group_vectors], factors[integer_group_vectors], code_sums[integer_group_vectors];
      const float *query_mask = mask == NULL ? NULL : mask + query;
#define SCORE(is_full, mask) \
  score_block( \
    is_full, scaling, tokens, head, queries, k + column, stride, terms, bias + query, mask, count, \
    scores, largest)
      if (count < query_block)
        SCORE(false, query_mask);
      else if (mask != NULL)
        SCORE(true, query_mask);
      else
        SCORE(true, NULL);
#undef SCORE
      code_probabilities(
        scaling, tokens, scores, largest, probabilities, factors, code_sums);
      for (size_t element = 0; element < head; element += key_rows) {
#define MIX(rows) \
  mix_values( \
    rows, scaling, tokens, columns, probabilities, values, totals, column + element, factors, \
    code_sums, count, target, query)
        switch (head - element) {
          case 1: MIX(1); break;
          case 2: MIX(2); break;
          case 3: MIX(3); break;
          default: MIX(key_rows);
        }
#undef MIX
      }
    }
  }
}
