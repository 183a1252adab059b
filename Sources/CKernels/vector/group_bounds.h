// The search for lower bounds and scales of groups, CK_WIDTH groups at once: one per lane.
//
// Each lane takes the same steps in the same order, so the result of a group is the same at every
// level. The including file defines `vector`, `load`, `store`, `splat`, `larger` and `smaller`.

#include <stdbool.h>

#include "../affine_codes.h"

#define CK_UNROLL _Pragma("clang loop unroll(full)")

// The values of some groups, by element and then by lane, moved and scaled to −1…1.
typedef struct lanes {
  const float *values;
  // Only there if the group is weighted.
  const float *weights;
  bool is_weighted;
  size_t size;
  vector middle, half_range;
  // Sums over a group: Σ w, Σ w x / Σ w, Σ w (x − mean)².
  vector total, mean, energy;
} lanes;

typedef struct fit {
  vector lower, scale, error;
} fit;

CK_INLINE fit better(fit a, fit b) {
  __auto_type is_better = b.error < a.error;
  return (fit){
    .lower = is_better ? b.lower : a.lower,
    .scale = is_better ? b.scale : a.scale,
    .error = is_better ? b.error : a.error};
}

CK_INLINE vector whole(vector x) { return (x + splat(0x1.8p23f)) - splat(0x1.8p23f); }

CK_INLINE vector limited(vector x, float least, float largest) {
  return smaller(larger(x, splat(least)), splat(largest));
}

// Copies groups from `first` on to `room`; lanes without a group repeat the last one.
CK_INLINE lanes loaded(const ck_groups *groups, size_t first, float *room, bool is_weighted) {
  size_t size = groups->size;
  float *weights = room + size * CK_WIDTH;
  for (size_t lane = 0; lane < CK_WIDTH; lane++) {
    size_t group = first + lane < groups->count ? first + lane : groups->count - 1;
    const float *values = groups->values + groups->starts[group];
    for (size_t index = 0; index < size; index++) room[index * CK_WIDTH + lane] = values[index];
    if (!is_weighted) continue;
    const float *own = groups->weights + groups->starts[group] % groups->columns;
    for (size_t index = 0; index < size; index++) weights[index * CK_WIDTH + lane] = own[index];
  }
  vector least = load(room), largest = least;
  for (size_t index = 1; index < size; index++) {
    vector x = load(room + index * CK_WIDTH);
    least = smaller(x, least);
    largest = larger(x, largest);
  }
  lanes result = {
    .values = room, .weights = weights, .is_weighted = is_weighted, .size = size};
  result.middle = splat(0.5f) * least + splat(0.5f) * largest;
  result.half_range = splat(0.5f) * largest - splat(0.5f) * least;
  // Below normal numbers, a reciprocal would be infinite.
  __auto_type is_flat = result.half_range < splat(0x1p-126f);
  result.half_range = is_flat ? splat(0) : result.half_range;
  vector factor = is_flat ? splat(0) : splat(1) / result.half_range;
  vector sum = splat(0), squares = splat(0), total = splat(0);
  for (size_t index = 0; index < size; index++) {
    vector x = (load(room + index * CK_WIDTH) - result.middle) * factor;
    store(room + index * CK_WIDTH, x);
    vector weighted = x;
    if (is_weighted) {
      vector weight = load(weights + index * CK_WIDTH);
      total += weight;
      weighted *= weight;
    }
    sum += weighted;
    squares += weighted * x;
  }
  if (!is_weighted) total = splat((float)size);
  result.total = total;
  result.mean = sum / total;
  result.energy = squares - sum * result.mean;
  return result;
}

// Returns the code nearest to a position.
CK_INLINE vector code_at(vector position, float highest) {
  return whole(limited(position, 0, highest));
}

// Replaces fits by the least squares fits to the codes that values have under them, with their
// errors. Several at once hide the latency of additions.
CK_INLINE void refit(const lanes *group, fit *fits, int count, float highest) {
  vector inverse[2], offset[2], sum[2], squares[2], products[2];
  for (int fit = 0; fit < count; fit++) {
    inverse[fit] = splat(1) / fits[fit].scale;
    offset[fit] = fits[fit].lower * inverse[fit];
    sum[fit] = squares[fit] = products[fit] = splat(0);
  }
  for (size_t index = 0; index < group->size; index++) {
    vector x = load(group->values + index * CK_WIDTH);
    CK_UNROLL
    for (int fit = 0; fit < count; fit++) {
      vector code = code_at(x * inverse[fit] - offset[fit], highest);
      vector weighted = code;
      if (group->is_weighted) weighted *= load(group->weights + index * CK_WIDTH);
      sum[fit] += weighted;
      squares[fit] += weighted * code;
      products[fit] += weighted * x;
    }
  }
  for (int fit = 0; fit < count; fit++) {
    vector mean = sum[fit] / group->total;
    vector variance = squares[fit] - sum[fit] * mean;
    vector covariance = products[fit] - sum[fit] * group->mean;
    __auto_type has_slope = smaller(variance, covariance) > splat(0);
    vector scale = has_slope ? covariance / variance : fits[fit].scale;
    fits[fit].scale = scale;
    fits[fit].lower = group->mean - scale * mean;
    fits[fit].error = has_slope ? group->energy - scale * covariance : group->energy;
  }
}

// Sets the errors of quantizers.
CK_INLINE void measure(const lanes *group, fit *fits, int count, float highest) {
  vector inverse[3], offset[3], squares[3];
  for (int fit = 0; fit < count; fit++) {
    inverse[fit] = splat(1) / fits[fit].scale;
    offset[fit] = fits[fit].lower * inverse[fit];
    squares[fit] = splat(0);
  }
  for (size_t index = 0; index < group->size; index++) {
    vector x = load(group->values + index * CK_WIDTH);
    CK_UNROLL
    for (int fit = 0; fit < count; fit++) {
      vector position = x * inverse[fit] - offset[fit];
      vector difference = position - code_at(position, highest);
      vector weighted = difference;
      if (group->is_weighted) weighted *= load(group->weights + index * CK_WIDTH);
      squares[fit] += weighted * difference;
    }
  }
  for (int fit = 0; fit < count; fit++)
    fits[fit].error = (squares[fit] * fits[fit].scale) * fits[fit].scale;
}

CK_INLINE void keep_lanes(vector x, size_t first, size_t count, float *output) {
  float found[CK_WIDTH];
  store(found, x);
  for (size_t lane = 0; lane < CK_WIDTH && first + lane < count; lane++)
    output[first + lane] = found[lane];
}

CK_INLINE void find_bounds(
  const ck_groups *groups, float *room, float *lower, float *scale, bool is_weighted) {
  // What part of a group's range codes of 1 to 8 bits cover best where values are Gaussian.
  static const float covered[] = {0.35f, 0.68f, 0.85f, 0.95f, 1, 1, 1, 1};
  float highest = (float)((1u << groups->bits) - 1), part = covered[groups->bits - 1];
  float spread = groups->bits <= 3 ? 0.09f : 0.03f;
  const float parts[] = {part, part, part * (1 + spread), part * (1 - spread)};
  static const float shifts[] = {0.4f, -0.4f, 0, 0};
  for (size_t first = 0; first < groups->count; first += CK_WIDTH) {
    lanes group = loaded(groups, first, room, is_weighted);
    fit best = {.lower = splat(-1), .scale = splat(2 / highest), .error = splat(INFINITY)};
    for (int pair = 0; pair < 2; pair++) {
      fit found[2];
      for (int start = 0; start < 2; start++) {
        float range = parts[2 * pair + start], step = 2 * range / highest;
        found[start].lower = splat(shifts[2 * pair + start] * step - range);
        found[start].scale = splat(step);
      }
      for (int round = 0; round < 2; round++) refit(&group, found, 2, highest);
      best = better(better(best, found[0]), found[1]);
    }
    keep_lanes(group.middle + best.lower * group.half_range, first, groups->count, lower);
    keep_lanes(best.scale * group.half_range, first, groups->count, scale);
  }
}

// Two codes of a group's parameters, and how they are in the group's own measure.
typedef struct coded {
  vector scale, lower;
} coded;

typedef struct grid {
  // The group's unit and the step of its lower bounds, and what either is in its own measure.
  vector unit, step, own_unit, own_step, own_middle;
} grid;

CK_INLINE fit fit_of(const grid *grid, coded codes) {
  return (fit){
    .lower = codes.lower * grid->own_step - grid->own_middle,
    .scale = codes.scale * grid->own_unit};
}

// Measures codes, and keeps those that are better than the best so far.
CK_INLINE void try_codes(
  const lanes *group, const grid *grid, const coded *tried, int count, float highest, coded *best,
  vector *least_error) {
  fit fits[3];
  for (int index = 0; index < count; index++) fits[index] = fit_of(grid, tried[index]);
  measure(group, fits, count, highest);
  for (int index = 0; index < count; index++) {
    __auto_type is_better = fits[index].error < *least_error;
    best->scale = is_better ? tried[index].scale : best->scale;
    best->lower = is_better ? tried[index].lower : best->lower;
    *least_error = is_better ? fits[index].error : *least_error;
  }
}

CK_INLINE vector scale_code(vector x) { return limited(x, 1, CK_LARGEST_SCALE_CODE); }

CK_INLINE vector lower_code(vector x) {
  return limited(x, CK_LEAST_LOWER_CODE, CK_LARGEST_LOWER_CODE);
}

CK_INLINE vector load_lanes(const float *values, size_t first, size_t count) {
  float found[CK_WIDTH];
  for (size_t lane = 0; lane < CK_WIDTH; lane++)
    found[lane] = values[first + lane < count ? first + lane : count - 1];
  return load(found);
}

CK_INLINE void find_codes(
  const ck_groups *groups, const float *units, float *room, float *lower, float *scale,
  bool is_weighted) {
  float highest = (float)((1u << groups->bits) - 1), levels = (float)(1u << groups->bits);
  int reach = groups->bits <= 3 ? 1 : 2;
  for (size_t first = 0; first < groups->count; first += CK_WIDTH) {
    lanes group = loaded(groups, first, room, is_weighted);
    vector unit = load_lanes(units, first, groups->count);
    vector start_lower = load_lanes(lower, first, groups->count);
    vector start_scale = load_lanes(scale, first, groups->count);
    // Groups of equal values, and rows of zeros, are not searched.
    __auto_type is_flat = smaller(group.half_range, unit) <= splat(0);
    vector factor = is_flat ? splat(1) : splat(1) / group.half_range;
    grid grid = {.unit = is_flat ? splat(1) : unit};
    grid.step = splat(levels) * grid.unit;
    grid.own_unit = grid.unit * factor;
    grid.own_step = grid.step * factor;
    grid.own_middle = group.middle * factor;
    vector center = scale_code(whole(scale_code(start_scale / grid.unit)));
    coded best = {.scale = center, .lower = splat(0)};
    vector least_error = splat(INFINITY);
    for (int turn = 0; turn <= 2 * reach; turn++) {
      float change = (float)(turn % 2 == 0 ? turn / 2 : -(turn + 1) / 2);
      vector code = scale_code(center + splat(change));
      // The middle of the range stays where it is when the scale changes.
      vector moved = start_lower + splat(0.5f * highest) * (start_scale - grid.unit * code);
      vector near = whole(lower_code(moved / grid.step));
      coded tried[3] = {
        {code, near}, {code, lower_code(near - splat(1))}, {code, lower_code(near + splat(1))}};
      try_codes(&group, &grid, tried, 3, highest, &best, &least_error);
    }
    for (int round = 0; round < 2; round++) {
      coded tried[2] = {best, best};
      for (int side = 0; side < 2; side++) {
        vector change = splat(side == 0 ? 1 : -1);
        if (round == 0) tried[side].scale = scale_code(best.scale + change);
        else tried[side].lower = lower_code(best.lower + change);
      }
      try_codes(&group, &grid, tried, 2, highest, &best, &least_error);
    }
    keep_lanes(is_flat ? start_lower : grid.step * best.lower, first, groups->count, lower);
    keep_lanes(is_flat ? splat(0) : grid.unit * best.scale, first, groups->count, scale);
  }
}

// Loops without weights do not ask for them.
static void group_bounds(const ck_groups *groups, float *room, float *lower, float *scale) {
  if (groups->weights == NULL) find_bounds(groups, room, lower, scale, false);
  else find_bounds(groups, room, lower, scale, true);
}

static void group_codes(
  const ck_groups *groups, const float *units, float *room, float *lower, float *scale) {
  if (groups->weights == NULL) find_codes(groups, units, room, lower, scale, false);
  else find_codes(groups, units, room, lower, scale, true);
}
