// Attention of a few queries at a time, between a decoder's matrix products: of beams to the ancestors they share, and of
// blocks to themselves.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "lanes.h"

namespace {

constexpr float UNSEEN = -3e38f;
constexpr int64_t PADDING = LANES;  // lists of slots and of weights are as much longer: four or sixteen are taken at a time

// Adds to `out` the products of some beams' queries with the slots' keys, over PARTS * 16 components; keys (capacity, size).
// Meanwhile the values are fetched: the slots of a list lie apart, and a processor does not see by itself what comes next.
template <int BEAMS, int PARTS, typename T>
void products(const float *queries, const T *keys, const T *values, const int32_t *slots, int64_t count, float *out,
              int64_t size, int64_t width) {
    for (int64_t j = 0; j < count; j += 4) {
        lanes part[4][PARTS];
        for (int k = 0; k < 4; ++k) {
            const T *key = keys + slots[j + k] * size;
            for (int i = 0; i < PARTS; ++i) part[k][i] = load(key + i * LANES);
            fetch<PARTS>(keys + slots[j + k + 8] * size);
            fetch<PARTS>(values + slots[j + k] * size);
        }
        for (int beam = 0; beam < BEAMS; ++beam) {
            lanes product[4];
            for (int i = 0; i < PARTS; ++i) {
                const lanes query = load(queries + beam * size + i * LANES);
                for (int k = 0; k < 4; ++k) product[k] = i ? product[k] + part[k][i] * query : part[k][i] * query;
            }
            four sum;
            float *to = out + beam * width + j;
            std::memcpy(&sum, to, sizeof sum);
            sum += totals(product[0], product[1], product[2], product[3]);
            std::memcpy(to, &sum, sizeof sum);
        }
    }
}

// Some beams' weighted sums of PARTS * 16 components of the values; values (capacity, size). Meanwhile the keys of the next
// head are fetched.
template <int BEAMS, int PARTS, typename T>
void sums(const float *weights, const T *values, const T *next, const int32_t *slots, int64_t count, T *out,
          int64_t size, int64_t width, int64_t stride) {
    lanes sum[BEAMS][PARTS] = {};
    for (int64_t j = 0; j < count; ++j) {
        const T *value = values + slots[j] * size;
        fetch<PARTS>(next + slots[j] * size);
        lanes part[PARTS];
        for (int i = 0; i < PARTS; ++i) part[i] = load(value + i * LANES);
        for (int beam = 0; beam < BEAMS; ++beam) {
            const float weight = weights[beam * width + j];
            for (int i = 0; i < PARTS; ++i) sum[beam][i] += part[i] * weight;
        }
    }
    for (int beam = 0; beam < BEAMS; ++beam)
        for (int i = 0; i < PARTS; ++i) store(sum[beam][i], out + beam * stride + i * LANES);
}

// Softmax over the slots that a beam sees, in place. What follows the list is seen by none.
inline void softmax(float *weights, const uint32_t *by, int64_t count, int64_t beam) {
    const lanes unseen = lanes{} + UNSEEN;
    lanes most = unseen, sum = {};
    for (int64_t j = 0; j < count; j += LANES) {
        lanes_of_bits beams;
        std::memcpy(&beams, by + j, sizeof beams);
        const lanes weight = (beams >> uint32_t(beam) & 1) != 0 ? load(weights + j) : unseen;
        most = larger(most, weight);
        store(weight, weights + j);
    }
    const float largest = maximum(most);
    for (int64_t j = 0; j < count; j += LANES) {
        const lanes weight = load(weights + j), e = weight > UNSEEN ? exponential(weight - largest) : lanes{};
        sum += e;
        store(e, weights + j);
    }
    const float share = 1 / total(sum);
    for (int64_t j = 0; j < count; j += LANES) store(load(weights + j) * share, weights + j);
}

struct Sizes {
    int64_t beams, heads, size, capacity, used;
};

// BEAMS of a prompt's beams from `beam` on, one head: softmax of the products over what each sees, then the sums.
template <int BEAMS, typename T>
void attend_head(const float *queries, const T *keys, const T *values, const uint32_t *by, const int32_t *slots,
                 int64_t count, int64_t beam, float *weights, T *out, const Sizes &at) {
    const int64_t size = at.size, width = at.used + PADDING, stride = at.heads * size;
    std::fill(weights, weights + BEAMS * width, 0.0f);
    int64_t start = 0;
    for (; start + 4 * LANES <= size; start += 4 * LANES)
        products<BEAMS, 4>(queries + start, keys + start, values + start, slots, count, weights, size, width);
    for (; start + 2 * LANES <= size; start += 2 * LANES)
        products<BEAMS, 2>(queries + start, keys + start, values + start, slots, count, weights, size, width);
    for (; start < size; start += LANES)
        products<BEAMS, 1>(queries + start, keys + start, values + start, slots, count, weights, size, width);
    for (int b = 0; b < BEAMS; ++b) softmax(weights + b * width, by, count, beam + b);
    const T *next = keys + at.capacity * size;  // after the last head nothing of ours: a fetch reads nothing
    for (start = 0; start + 4 * LANES <= size; start += 4 * LANES)
        sums<BEAMS, 4>(weights, values + start, next + start, slots, count, out + start, size, width, stride);
    for (; start + 2 * LANES <= size; start += 2 * LANES)
        sums<BEAMS, 2>(weights, values + start, next + start, slots, count, out + start, size, width, stride);
    for (; start < size; start += LANES)
        sums<BEAMS, 1>(weights, values + start, next + start, slots, count, out + start, size, width, stride);
}

constexpr int64_t TOGETHER = 5;  // queries that read a key or value at once

struct Scratch {
    std::vector<int32_t> slots;
    std::vector<uint32_t> by;
    std::vector<float> weights, queries;
    explicit Scratch(const Sizes &at)
        : slots(at.used + PADDING), by(at.used + PADDING), weights(TOGETHER * (at.used + PADDING)),
          queries(TOGETHER * at.size) {}
};

// At most TOGETHER queries of one head, each 3 * heads * size behind the one before it; `beam` is the first one's bit.
template <typename T>
void attend_together(int64_t some, const T *query, const T *keys, const T *values, int64_t count, int64_t beam,
                     Scratch &scratch, T *out, const Sizes &at) {
    const float scale = 1 / std::sqrt(float(at.size));
    for (int64_t b = 0; b < some; ++b)
        for (int64_t i = 0; i < at.size; ++i)
            scratch.queries[b * at.size + i] = scale * widen(query[b * 3 * at.heads * at.size + i]);
    auto work = some == 5   ? attend_head<5, T>
                : some == 4 ? attend_head<4, T>
                : some == 3 ? attend_head<3, T>
                : some == 2 ? attend_head<2, T>
                            : attend_head<1, T>;
    work(scratch.queries.data(), keys, values, scratch.by.data(), scratch.slots.data(), count, beam,
         scratch.weights.data(), out, at);
}

// One layer: store the keys and values of the prompts' newest tokens, then attend.
template <typename T>
void attend(const T *projected, T *keys, T *values, const int32_t *own, const uint32_t *seen, T *out, int64_t prompts,
            const Sizes &at) {
    const int64_t size = at.size, capacity = at.capacity, hidden = at.heads * size;
    Scratch scratch(at);
    auto &slots = scratch.slots;
    auto &by = scratch.by;
    for (int64_t prompt = 0; prompt < prompts; ++prompt) {
        int64_t count = 0;
        for (int64_t slot = 0; slot < at.used; ++slot)
            if (const uint32_t beams = seen[prompt * at.used + slot]) slots[count] = int32_t(slot), by[count++] = beams;
        std::fill(slots.begin() + count, slots.begin() + count + PADDING, slots[count - 1]);
        std::fill(by.begin() + count, by.begin() + count + PADDING, 0);
        for (int64_t head = 0; head < at.heads; ++head) {
            T *k = keys + (prompt * at.heads + head) * capacity * size;
            T *v = values + (prompt * at.heads + head) * capacity * size;
            for (int64_t beam = 0; beam < at.beams; ++beam) {
                const T *row = projected + (prompt * at.beams + beam) * 3 * hidden + head * size;
                const int64_t slot = own[prompt * at.beams + beam];
                std::copy(row + hidden, row + hidden + size, k + slot * size);
                std::copy(row + 2 * hidden, row + 2 * hidden + size, v + slot * size);
            }
            for (int64_t beam = 0; beam < at.beams; beam += TOGETHER)
                attend_together(std::min(TOGETHER, at.beams - beam),
                                projected + (prompt * at.beams + beam) * 3 * hidden + head * size, k, v, count, beam,
                                scratch, out + (prompt * at.beams + beam) * hidden + head * size, at);
        }
    }
}

// Blocks to themselves, every token to those before it and itself. Keys and values stay where the projection wrote them:
// a token is a slot, 3 * heads further than the one before it; a query is a beam.
template <typename T>
void attend_causally(const T *projected, T *out, int64_t blocks, int64_t length, int64_t heads, int64_t size) {
    const Sizes at{TOGETHER, heads, size, 1, length};
    const int64_t hidden = heads * size;
    Scratch scratch(at);
    for (int64_t j = 0; j < length + PADDING; ++j) scratch.slots[j] = int32_t(3 * heads * std::min(j, length - 1));
    for (int64_t block = 0; block < blocks; ++block)
        for (int64_t head = 0; head < heads; ++head) {
            const T *rows = projected + block * length * 3 * hidden + head * size;
            std::fill(scratch.by.begin(), scratch.by.end(), 0);
            for (int64_t first = 0; first < length; first += TOGETHER) {
                const int64_t some = std::min(TOGETHER, length - first);
                for (int64_t k = 0; k < some; ++k) scratch.by[first + k] = ~uint32_t(0) << k;
                attend_together(some, rows + first * 3 * hidden, rows + hidden, rows + 2 * hidden, first + some, 0,
                                scratch, out + (block * length + first) * hidden + head * size, at);
                std::fill_n(scratch.by.begin() + first, some, ~uint32_t(0));
            }
        }
}

}  // namespace
