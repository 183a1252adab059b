// The codings of a row's groups, many at once.

// The largest number of groups whose codings are computed at once.
enum { groups_at_once = 64 };

// The result of `ck_group_coding_of` for each group, and the reciprocal of its scale.
typedef struct group_codings {
  _Alignas(64) float lower[groups_at_once];
  _Alignas(64) float upper[groups_at_once];
  _Alignas(64) float scale[groups_at_once];
  _Alignas(64) float reciprocal[groups_at_once];
} group_codings;

CK_INLINE vector group_bounds(float bound, vector least, vector greatest) {
  vector part = least * splat((1 - bound) * 0.5f);
  return part + greatest * splat((1 + bound) * 0.5f);
}

// Computes the codings of up to `groups_at_once` groups in the first `count` elements of a row or
// of its remainder; returns the number of groups.
CK_INLINE size_t find_codings(
  const ck_quantizer *quantizer, const float *x, size_t count, group_codings *codings) {
  size_t groups = 0, size = quantizer->group_size;
  for (size_t first = 0; first < count && groups < groups_at_once; first += size, groups++) {
    ck_range range = range_of(x + first, ck_group_length(count - first, size));
    codings->lower[groups] = range.least;
    codings->upper[groups] = range.greatest;
  }
  for (size_t group = groups; group % CK_WIDTH != 0; group++)
    codings->lower[group] = codings->upper[group] = 0;
  const vector infinity = splat(INFINITY);
  for (size_t group = 0; group < groups; group += CK_WIDTH) {
    vector least = load(codings->lower + group), greatest = load(codings->upper + group);
    int_vector is_value = greatest - least < splat(CK_LEAST_ROW_MAGNITUDE);
    vector lower = is_value ? least : group_bounds(quantizer->lower, least, greatest);
    vector upper = is_value ? least : group_bounds(quantizer->upper, least, greatest);
    vector width = upper - lower, scale = width / splat(quantizer->levels);
    int_vector has_steps = (scale > splat(0)) & (scale < infinity);
    vector all = width < infinity ? lower : splat(NAN);
    scale = has_steps ? scale : splat(1);
    store(codings->lower + group, has_steps ? lower : all);
    store(codings->upper + group, has_steps ? upper : all);
    store(codings->scale + group, scale);
    store(codings->reciprocal + group, splat(1) / scale);
  }
  return groups;
}

CK_INLINE ck_row_coding coding_at(const group_codings *codings, size_t group) {
  return (ck_row_coding){
    1, codings->lower[group], codings->upper[group], codings->scale[group]};
}
