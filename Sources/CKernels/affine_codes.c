#include "affine_codes.h"

#include <math.h>
#include <string.h>

#include "vector_levels.h"

#pragma STDC FP_CONTRACT OFF

static const ck_affine_table *table(void) { return ck_current_level()->affine; }

void ck_widen(ck_element type, const void *elements, size_t count, float *values) {
  table()->widen(type, elements, count, values);
}

size_t ck_extremes(const float *values, size_t count, float *least, float *largest) {
  float found_least, found_largest;
  if (!table()->extremes(values, count, &found_least, &found_largest)) {
    for (size_t index = 0; index < count; index++)
      if (!isfinite(values[index])) return index;
  }
  if (found_least == 0) {
    size_t first = 0;
    while (values[first] != 0) first++;
    found_least = values[first];
  }
  *least = found_least;
  *largest = found_largest;
  return count;
}

// Adds the lanes in halves: the first eight to the last eight, and so on.
static double sum_of(double lanes[ck_cost_lanes]) {
  for (size_t width = ck_cost_lanes / 2; width > 0; width /= 2)
    for (size_t lane = 0; lane < width; lane++) lanes[lane] += lanes[lane + width];
  return lanes[0];
}

void ck_affine_encode(
  const ck_affine_code *code, const float *values, size_t count, uint8_t *codes,
  ck_affine_cost *cost) {
  ck_cost_sums sums = {.largest_error = cost->largest_error};
  if (code->scale > 0) {
    size_t whole = count / ck_cost_lanes * ck_cost_lanes;
    if (whole > 0) table()->encode(code, values, whole, codes, &sums);
    if (whole < count)
      ck_affine_scalar.encode(code, values + whole, count - whole, codes + whole, &sums);
  } else {
    // Every value becomes the lower bound, and none count as clipped.
    memset(codes, 0, count);
    float decoded = ck_rounded(code->lower, code->type);
    for (size_t index = 0; index < count; index++) {
      double error = fabs((double)values[index] - (double)decoded);
      sums.signal[index % ck_cost_lanes] += (double)values[index] * (double)values[index];
      sums.noise[index % ck_cost_lanes] += error * error;
      if (error > sums.largest_error) sums.largest_error = error;
    }
  }
  cost->signal += sum_of(sums.signal);
  cost->noise += sum_of(sums.noise);
  cost->largest_error = sums.largest_error;
  cost->clipped += sums.clipped;
}

void ck_group_bounds(const ck_groups *groups, float *room, float *lower, float *scale) {
  if (groups->count > 0) table()->group_bounds(groups, room, lower, scale);
}

void ck_group_codes(
  const ck_groups *groups, const float *units, float *room, float *lower, float *scale) {
  if (groups->count > 0) table()->group_codes(groups, units, room, lower, scale);
}

// MARK: Bits

// Gathers the low bits of a word's eight bytes, in three steps that each join neighbours.
static inline uint64_t joined(
  uint64_t word, unsigned bits, uint64_t codes, uint64_t pairs, uint64_t quads) {
  word = (word & codes) | (word >> 8 & codes) << bits;
  word = (word & pairs) | (word >> 16 & pairs) << (2 * bits);
  return (word & quads) | (word >> 32 & quads) << (4 * bits);
}

void ck_pack_codes(const uint8_t *codes, size_t count, unsigned bits, uint8_t *stream) {
  const uint64_t one = 1;
  uint64_t code_mask = ((one << bits) - 1) * 0x0001000100010001;
  uint64_t pair_mask = ((one << (2 * bits)) - 1) * 0x0000000100000001;
  uint64_t quad_mask = (one << (4 * bits)) - 1;
  size_t byte_count = count / 8 * bits + (count % 8 * bits + 7) / 8;
  size_t first = 0, offset = 0;
  // A whole word is stored if there is room for it; the next store overwrites its zeros.
  for (; first + 8 <= count && offset + 8 <= byte_count; first += 8, offset += bits) {
    uint64_t word;
    memcpy(&word, codes + first, 8);
    word = joined(word, bits, code_mask, pair_mask, quad_mask);
    memcpy(stream + offset, &word, 8);
  }
  for (; first < count; first += 8, offset += bits) {
    uint64_t word = 0;
    memcpy(&word, codes + first, count - first < 8 ? count - first : 8);
    word = joined(word, bits, code_mask, pair_mask, quad_mask);
    memcpy(stream + offset, &word, byte_count - offset < bits ? byte_count - offset : bits);
  }
}
