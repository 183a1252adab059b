// Attention on transposed matrices: a vector holds one key's scores of several queries, so that the
// softmax needs no sums across a vector, and short heads do not leave its elements unused.

enum { query_count = group_vectors * CK_WIDTH };

// Computes sum[row] = Σ x[row · x_stride + index · x_step] · matrix[index · query_count] over
// `count` indices, in index order.
CK_INLINE void accumulate_transposed(
  int rows, size_t count, const float *x, size_t x_stride, size_t x_step, const float *matrix,
  vector sum[block_rows][group_vectors]) {
#pragma clang loop unroll(full)
  for (int row = 0; row < rows; row++)
#pragma clang loop unroll(full)
    for (int index = 0; index < group_vectors; index++) sum[row][index] = splat(0);
  for (size_t step = 0; step < count; step++, x += x_step, matrix += query_count) {
    vector column[group_vectors];
#pragma clang loop unroll(full)
    for (int index = 0; index < group_vectors; index++)
      column[index] = load(matrix + index * CK_WIDTH);
#pragma clang loop unroll(full)
    for (int row = 0; row < rows; row++) {
      vector element = splat(x[(size_t)row * x_stride]);
#pragma clang loop unroll(full)
      for (int index = 0; index < group_vectors; index++)
        sum[row][index] = fused(element, column[index], sum[row][index]);
    }
  }
}

// Computes the scores of `rows` keys, which are products with the queries `q` [head, query_count].
CK_INLINE void score_keys(
  int rows, size_t head, const float *q, const float *k, size_t k_stride, float scale,
  const float *bias, const float *mask, size_t queries, size_t count, float *scores,
  vector *largest) {
  vector sum[block_rows][group_vectors];
  accumulate_transposed(rows, head, k, k_stride, 1, q, sum);
#pragma clang loop unroll(full)
  for (int row = 0; row < rows; row++)
#pragma clang loop unroll(full)
    for (int index = 0; index < group_vectors; index++) {
      vector score = sum[row][index] * splat(scale);
      if (bias != NULL) score += load_part(bias + (size_t)row * queries, index, count);
      if (mask != NULL) score += load_part(mask + (size_t)row * queries, index, count);
      largest[index] = larger(score, largest[index]);
      store(scores + (row * group_vectors + index) * CK_WIDTH, score);
    }
}

// Computes `rows` elements of the results, which are sums over the keys of probabilities times v.
CK_INLINE void sum_values(
  int rows, size_t keys, const float *probabilities, const float *v, size_t v_stride,
  const vector *factors, float *results) {
  vector sum[block_rows][group_vectors];
  accumulate_transposed(rows, keys, v, 1, v_stride, probabilities, sum);
#pragma clang loop unroll(full)
  for (int row = 0; row < rows; row++)
#pragma clang loop unroll(full)
    for (int index = 0; index < group_vectors; index++)
      store(results + (row * group_vectors + index) * CK_WIDTH, sum[row][index] * factors[index]);
}

// Replaces the factors of queries by those that make the sum of their probabilities 1.
static void normalize(size_t keys, const float *probabilities, vector *factors) {
  vector sums[group_vectors];
#pragma clang loop unroll(full)
  for (int index = 0; index < group_vectors; index++) sums[index] = splat(0);
  for (size_t key = 0; key < keys; key++)
#pragma clang loop unroll(full)
    for (int index = 0; index < group_vectors; index++)
      sums[index] += load(probabilities + key * query_count + index * CK_WIDTH);
#pragma clang loop unroll(full)
  for (int index = 0; index < group_vectors; index++)
    factors[index] = normalizing_factor(sums[index], factors[index]);
}

// Processes `count` queries, at most `query_count`.
CK_INLINE void attend(
  size_t count, size_t queries, size_t keys, size_t head, const float *q, size_t q_stride,
  const float *k, size_t k_stride, const float *v, size_t v_stride, float scale,
  const float *bias, const float *mask, const ck_quantizer *quantizer, float *out,
  size_t out_stride, float *scratch) {
  float *columns = scratch, *results = columns + head * query_count;
  float *scores = results + head * query_count;
  for (size_t element = 0; element < head; element++) {
    for (size_t query = 0; query < count; query++)
      columns[element * query_count + query] = q[query * q_stride + element];
    for (size_t query = count; query < query_count; query++)
      columns[element * query_count + query] = 0;
  }

  vector largest[group_vectors], sums[group_vectors];
#pragma clang loop unroll(full)
  for (int index = 0; index < group_vectors; index++) largest[index] = splat(-INFINITY);
  size_t key = 0;
  for (; key + block_rows <= keys; key += block_rows)
    score_keys(
      block_rows, head, columns, k + key * k_stride, k_stride, scale,
      bias == NULL ? NULL : bias + key * queries, mask == NULL ? NULL : mask + key * queries,
      queries, count, scores + key * query_count, largest);
  for (; key < keys; key++)
    score_keys(
      1, head, columns, k + key * k_stride, k_stride, scale,
      bias == NULL ? NULL : bias + key * queries, mask == NULL ? NULL : mask + key * queries,
      queries, count, scores + key * query_count, largest);

#pragma clang loop unroll(full)
  for (int index = 0; index < group_vectors; index++) sums[index] = splat(0);
  for (key = 0; key < keys; key++)
#pragma clang loop unroll(full)
    for (int index = 0; index < group_vectors; index++) {
      float *place = scores + key * query_count + index * CK_WIDTH;
      vector value = exponential(load(place) - largest[index]);
      sums[index] += value;
      store(place, value);
    }
#pragma clang loop unroll(full)
  for (int index = 0; index < group_vectors; index++) sums[index] = splat(1) / sums[index];
  if (quantizer != NULL && quantizer->is_row_scaled) {
    // The largest exponential of a query is 1, so each one equals its probability over the largest.
    ck_quantizer shared = *quantizer;
    shared.is_row_scaled = false;
    quantize(&shared, scores, 1, keys * query_count, 0, scores, 0);
  } else if (quantizer != NULL) {
    for (key = 0; key < keys; key++)
#pragma clang loop unroll(full)
      for (int index = 0; index < group_vectors; index++) {
        float *place = scores + key * query_count + index * CK_WIDTH;
        store(place, load(place) * sums[index]);
      }
    quantize(quantizer, scores, 1, keys * query_count, 0, scores, 0);
#pragma clang loop unroll(full)
    for (int index = 0; index < group_vectors; index++) sums[index] = splat(1);
  }
  if (quantizer != NULL && quantizer->is_normalized) normalize(keys, scores, sums);

  size_t element = 0;
  for (; element + 5 <= head; element += 5)
    sum_values(
      5, keys, scores, v + element, v_stride, sums, results + element * query_count);
  for (; element < head; element++)
    sum_values(
      1, keys, scores, v + element, v_stride, sums, results + element * query_count);
  for (size_t query = 0; query < count; query++)
    for (element = 0; element < head; element++)
      out[query * out_stride + element] = results[element * query_count + query];
}

static void attention(
  size_t queries, size_t keys, size_t head, const float *q, size_t q_stride, const float *k,
  size_t k_stride, const float *v, size_t v_stride, float scale, const float *bias,
  const float *mask, const ck_quantizer *quantizer, float *out, size_t out_stride,
  float *scratch) {
  for (size_t query = 0; query < queries; query += query_count) {
    size_t count = queries - query < query_count ? queries - query : query_count;
    attend(
      count, queries, keys, head, q + query * q_stride, q_stride, k, k_stride, v, v_stride, scale,
      bias == NULL ? NULL : bias + query, mask == NULL ? NULL : mask + query, quantizer,
      out + query * out_stride, out_stride, scratch);
  }
}

// Adds the products of `count` columns of x with up to a vector of columns of y.
CK_INLINE void add_head_products(
  int count, size_t rows, const float *x, size_t x_stride, const float *y, size_t y_stride,
  size_t others, float *sums, size_t size) {
  vector sum[10];
#pragma clang loop unroll(full)
  for (int column = 0; column < count; column++) sum[column] = splat(0);
  for (size_t row = 0; row < rows; row++, x += x_stride, y += y_stride) {
    vector elements = others < CK_WIDTH ? load_first(y, others) : load(y);
#pragma clang loop unroll(full)
    for (int column = 0; column < count; column++)
      sum[column] = fused(splat(x[column]), elements, sum[column]);
  }
#pragma clang loop unroll(full)
  for (int column = 0; column < count; column++, sums += size) {
    if (others < CK_WIDTH)
      store_first(sums, load_first(sums, others) + sum[column], others);
    else
      store(sums, load(sums) + sum[column]);
  }
}

static void head_products(
  size_t rows, size_t columns, size_t size, const float *x, size_t x_stride, const float *y,
  size_t y_stride, float *sums) {
  for (size_t head = 0; head < columns; head += size)
    for (size_t first = 0; first < size; first += CK_WIDTH)
      for (size_t column = 0; column < size;) {
#define ADD(count) \
  add_head_products( \
    count, rows, x + head + column, x_stride, y + head + first, y_stride, size - first, \
    sums + (head + column) * size + first, size); \
  column += count
        if (size - column >= 10) {
          ADD(10);
        } else if (size - column >= 5) {
          ADD(5);
        } else {
          ADD(1);
        }
#undef ADD
      }
}
