// The codings of runs of values: of whole rows or of their groups, many at once.

enum {
  // The largest number of runs whose codings are computed at once.
  codings_at_once = 64,
  // The most elements of rows whose codings are computed at once, so that they stay in the cache.
  elements_at_once = 4096,
};

// The coding of each run, and the reciprocal of its scale as `reciprocal_of` returns it.
typedef struct run_codings {
  _Alignas(64) float lower[codings_at_once];
  _Alignas(64) float upper[codings_at_once];
  _Alignas(64) float scale[codings_at_once];
  _Alignas(64) float reciprocal[codings_at_once];
} run_codings;

// Returns how many rows of `columns` elements have their codings computed at once, each in this many runs.
CK_INLINE size_t rows_at_once(size_t columns, size_t runs) {
  size_t rows = codings_at_once / runs, most = elements_at_once / columns;
  return most == 0 ? 1 : rows < most ? rows : most;
}

// The vector of `reduced` whose elements come to each place of the result.
static const unsigned char place_of_vector[] =
#if CK_WIDTH == 16
  {0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15};
#elif CK_WIDTH == 8
  {0, 2, 1, 3, 4, 6, 5, 7};
#else
  {0, 2, 1, 3};
#endif

// Joins two vectors: the halves, the quarters and so on that are to be compared with one another.
#if CK_WIDTH == 16
  #define CK_HALVES(a, b, second) \
    __builtin_shufflevector( \
      a, b, second, second + 1, second + 2, second + 3, second + 4, second + 5, second + 6, \
      second + 7, second + 16, second + 17, second + 18, second + 19, second + 20, second + 21, \
      second + 22, second + 23)
  #define CK_QUARTERS(a, b, second) \
    __builtin_shufflevector( \
      a, b, second, second + 1, second + 2, second + 3, second + 8, second + 9, second + 10, \
      second + 11, second + 16, second + 17, second + 18, second + 19, second + 24, second + 25, \
      second + 26, second + 27)
  #define CK_PAIRS(a, b, second) \
    __builtin_shufflevector( \
      a, b, second, second + 1, second + 16, second + 17, second + 4, second + 5, second + 20, \
      second + 21, second + 8, second + 9, second + 24, second + 25, second + 12, second + 13, \
      second + 28, second + 29)
  #define CK_SINGLES(a, b, second) \
    __builtin_shufflevector( \
      a, b, second, second + 2, second + 16, second + 18, second + 4, second + 6, second + 20, \
      second + 22, second + 8, second + 10, second + 24, second + 26, second + 12, second + 14, \
      second + 28, second + 30)
#elif CK_WIDTH == 8
  #define CK_HALVES(a, b, second) \
    __builtin_shufflevector( \
      a, b, second, second + 1, second + 2, second + 3, second + 8, second + 9, second + 10, \
      second + 11)
  #define CK_PAIRS(a, b, second) \
    __builtin_shufflevector( \
      a, b, second, second + 1, second + 8, second + 9, second + 4, second + 5, second + 12, \
      second + 13)
  #define CK_SINGLES(a, b, second) \
    __builtin_shufflevector( \
      a, b, second, second + 2, second + 8, second + 10, second + 4, second + 6, second + 12, \
      second + 14)
#else
  #define CK_PAIRS(a, b, second) \
    __builtin_shufflevector(a, b, second, second + 1, second + 4, second + 5)
  #define CK_SINGLES(a, b, second) \
    __builtin_shufflevector(a, b, second, second + 2, second + 4, second + 6)
#endif

// Defines a function that returns the extreme of each vector, at the place of which `place_of_vector` tells
// the vector, and that leaves them undefined. There must be no NaN.
#define CK_EXTREMES(name, extreme) \
  CK_INLINE vector name(vector *x) { \
    int count = CK_WIDTH / 2; \
    CK_EXTREMES_OF_LANES(extreme) \
    for (int index = 0; index < 2; index++) \
      x[index] = extreme(CK_PAIRS(x[index], x[index + 2], 0), CK_PAIRS(x[index], x[index + 2], 2)); \
    return extreme(CK_SINGLES(x[0], x[1], 0), CK_SINGLES(x[0], x[1], 1)); \
  }
#if CK_WIDTH == 16
  #define CK_EXTREMES_OF_LANES(extreme) \
    for (int index = 0; index < count; index++) \
      x[index] = extreme( \
        CK_HALVES(x[index], x[index + 8], 0), CK_HALVES(x[index], x[index + 8], 8)); \
    for (int index = 0; index < count / 2; index++) \
      x[index] = extreme( \
        CK_QUARTERS(x[index], x[index + 4], 0), CK_QUARTERS(x[index], x[index + 4], 4));
#elif CK_WIDTH == 8
  #define CK_EXTREMES_OF_LANES(extreme) \
    for (int index = 0; index < count; index++) \
      x[index] = extreme( \
        CK_HALVES(x[index], x[index + 4], 0), CK_HALVES(x[index], x[index + 4], 4));
#else
  #define CK_EXTREMES_OF_LANES(extreme) (void)count;
#endif

CK_EXTREMES(least_of_each, smaller)
CK_EXTREMES(largest_of_each, larger)

// Computes the largest magnitude of each row, or with `groups` the ends of the range of each group, in `size`
// elements of which the last group of a row may have fewer. They are written in whole vectors.
CK_INLINE void find_extremes(
  bool groups, const float *x, size_t rows, size_t columns, size_t stride, size_t size,
  float *least, float *greatest) {
  vector lows[CK_WIDTH], highs[CK_WIDTH];
  size_t run = 0;
  for (size_t row = 0; row < rows; row++, x += stride)
    for (size_t first = 0; first < columns; first += size) {
      size_t count = columns - first < size ? columns - first : size;
      vector low = splat(INFINITY), high = splat(groups ? -INFINITY : 0);
      size_t index = first, end = first + count;
      for (; index + CK_WIDTH <= end; index += CK_WIDTH) {
        vector elements = load(x + index);
        if (groups) low = smaller(elements, low);
        high = larger(groups ? elements : __builtin_elementwise_abs(elements), high);
      }
      if (index < end) {
        int_vector is_there = places_before(end - index);
        vector elements = load_first(x + index, end - index);
        if (groups) low = smaller(is_there ? elements : splat(INFINITY), low);
        vector last = groups ? elements : __builtin_elementwise_abs(elements);
        high = larger(is_there ? last : high, high);
      }
      size_t place = place_of_vector[run % CK_WIDTH];
      if (groups) lows[place] = low;
      highs[place] = high;
      run++;
      bool is_last = row + 1 == rows && first + size >= columns;
      while (is_last && run % CK_WIDTH != 0) {
        place = place_of_vector[run++ % CK_WIDTH];
        lows[place] = highs[place] = splat(0);
      }
      if (run % CK_WIDTH != 0) continue;
      if (groups) store(least + run - CK_WIDTH, least_of_each(lows));
      store(greatest + run - CK_WIDTH, largest_of_each(highs));
    }
}

CK_INLINE vector group_bounds(float bound, vector least, vector greatest) {
  vector part = least * splat((1 - bound) * 0.5f);
  return part + greatest * splat((1 + bound) * 0.5f);
}

// Computes the codings of the runs of some rows, one row after the other: what `ck_row_coding_of` returns for
// each row, or `ck_group_coding_of` for each group of `size` elements. There are at most `codings_at_once`.
CK_INLINE void find_codings(
  const ck_quantizer *quantizer, const float *x, size_t rows, size_t columns, size_t stride,
  size_t size, run_codings *codings) {
  bool groups = !quantizer->is_row_scaled;
  if (groups)
    find_extremes(true, x, rows, columns, stride, size, codings->lower, codings->upper);
  else
    find_extremes(false, x, rows, columns, stride, size, codings->lower, codings->upper);
  const vector infinity = splat(INFINITY), least_width = splat(CK_LEAST_ROW_MAGNITUDE);
  size_t runs = rows * ((columns - 1) / size + 1);
  for (size_t run = 0; run < runs; run += CK_WIDTH) {
    vector lower, upper, greatest = load(codings->upper + run);
    if (groups) {
      vector least = load(codings->lower + run);
      int_vector is_value = greatest - least < least_width;
      lower = is_value ? least : group_bounds(quantizer->lower, least, greatest);
      upper = is_value ? least : group_bounds(quantizer->upper, least, greatest);
    } else {
      vector magnitude = greatest < least_width ? splat(0) : greatest;
      lower = splat(quantizer->lower) * magnitude;
      upper = splat(quantizer->upper) * magnitude;
    }
    vector width = upper - lower, scale = width / splat(quantizer->levels);
    int_vector has_steps = (scale > splat(0)) & (scale < infinity);
    vector all = width < infinity ? lower : splat(NAN);
    scale = has_steps ? scale : splat(1);
    store(codings->lower + run, has_steps ? lower : all);
    store(codings->upper + run, has_steps ? upper : all);
    store(codings->scale + run, scale);
    int_vector is_safe = (scale >= splat(0x1p-90f)) & (scale <= splat(0x1p90f));
    store(codings->reciprocal + run, is_safe ? splat(1) / scale : splat(NAN));
  }
}

CK_INLINE ck_row_coding coding_at(const run_codings *codings, size_t run) {
  return (ck_row_coding){1, codings->lower[run], codings->upper[run], codings->scale[run]};
}

// What becomes of a run of `count` values, the first one in a row and column. `reciprocal` is that of the scale.
typedef void run_function(
  void *work, ck_row_coding coding, float reciprocal, size_t row, size_t column, size_t count);

// Calls `function` for every run of rows whose bounds follow their values: each row as a whole, or its groups.
//
// `in_order`: whether rows and their groups come from the first to the last. What writes to the rows is faster
// otherwise, because a masked store delays loads from what is beside its elements.
CK_INLINE void for_each_run(
  bool in_order, const ck_quantizer *quantizer, const float *x, size_t rows, size_t columns,
  size_t stride, run_function *function, void *work) {
  size_t size = quantizer->group_size == 0 ? columns : ck_group_length(columns, quantizer->group_size);
  // Rows of more runs come one at a time, in pieces.
  size_t piece = ck_group_length((columns - 1) / size + 1, codings_at_once) * size;
  size_t batch = rows_at_once(ck_group_length(columns, piece), piece / size);
  run_codings codings;
  for (size_t start = 0; start < rows; start += batch) {
    size_t some = ck_group_length(rows - start, batch);
    for (size_t first = 0; first < columns; first += piece) {
      size_t count = ck_group_length(columns - first, piece), runs = (count - 1) / size + 1;
      find_codings(quantizer, x + start * stride + first, some, count, stride, size, &codings);
#define CK_RUN(row, index) \
  function( \
    work, coding_at(&codings, (row) * runs + (index)), codings.reciprocal[(row) * runs + (index)], \
    start + (row), first + (index) * size, ck_group_length(count - (index) * size, size))
      if (in_order) {
        for (size_t row = 0; row < some; row++)
          for (size_t index = 0; index < runs; index++) CK_RUN(row, index);
      } else {
        for (size_t index = 0; index < runs; index++)
          for (size_t half = 0; half < 2; half++)
            for (size_t row = half; row < some; row += 2) CK_RUN(row, index);
      }
#undef CK_RUN
    }
  }
}
