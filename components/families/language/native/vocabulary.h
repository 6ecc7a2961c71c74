// What is asked of logits: the best tokens, and the loss of given ones. Sums over a vocabulary run in double by blocks.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "lanes.h"

namespace {

constexpr int64_t BLOCK = 4 * LANES;

struct Block {
    lanes part[BLOCK / LANES];
};

// Logits from `start` on, as low as can be behind the row's end.
template <typename T>
inline Block block_of(const T *row, int64_t start, int64_t size) {
    T last[BLOCK];
    const T *from = row + start;
    if (start + BLOCK > size) {
        narrow(-INFINITY, last[0]);
        std::fill(last + 1, last + BLOCK, last[0]);
        std::copy(row + start, row + size, last);
        from = last;
    }
    Block block;
    for (int i = 0; i < BLOCK / LANES; ++i) block.part[i] = load(from + i * LANES);
    return block;
}

inline lanes largest_of(const Block &block) {
    return larger(larger(block.part[0], block.part[1]), larger(block.part[2], block.part[3]));
}

template <typename T>
inline float block_maximum(const T *row, int64_t start, int64_t size) {
    return maximum(largest_of(block_of(row, start, size)));
}

// Logarithm of a row's sum of exponentials.
template <typename T>
float normaliser(const T *row, int64_t size, float largest) {
    double sum = 0;
    for (int64_t start = 0; start < size; start += BLOCK) {
        const Block block = block_of(row, start, size);
        lanes e[4];
        for (int i = 0; i < 4; ++i) e[i] = exponential(block.part[i] - largest);
        sum += total((e[0] + e[1]) + (e[2] + e[3]));
    }
    return float(largest + std::log(sum));
}

// Of each row four numbers: the target's negative log-likelihood (to the bit what `losses` gives), the likeliest token's
// probability, whether the target is as likely as that, and the entropy.
template <typename T>
void predictions(const T *logits, const int64_t *targets, float *out, int64_t rows, int64_t size) {
    for (int64_t number = 0; number < rows; ++number, out += 4) {
        const T *row = logits + number * size;
        lanes highest = lanes{} - INFINITY;
        for (int64_t start = 0; start < size; start += BLOCK)
            highest = larger(highest, largest_of(block_of(row, start, size)));
        const float largest = maximum(highest);
        double sum = 0, weighted = 0;
        for (int64_t start = 0; start < size; start += BLOCK) {
            const Block block = block_of(row, start, size);
            lanes e[4], below[4];
            for (int i = 0; i < 4; ++i) {
                below[i] = larger(block.part[i] - largest, lanes{} - 87.0f);  // where `exponential` ends, also of -infinity
                e[i] = exponential(below[i]);
            }
            sum += total((e[0] + e[1]) + (e[2] + e[3]));
            weighted += total((e[0] * below[0] + e[1] * below[1]) + (e[2] * below[2] + e[3] * below[3]));
        }
        const float target = widen(row[targets[number]]);
        out[0] = float(largest + std::log(sum)) - target;
        out[1] = float(1 / sum);
        out[2] = target == largest;
        out[3] = float(std::log(sum) - weighted / sum);
    }
}

// The k best tokens of each row by log-probability, best first, the first of equals; tokens seen before have theirs
// multiplied by `penalty`. Overwrites the logits it takes.
template <typename T>
void best(T *logits, const int64_t *banned, int64_t banned_count, const int64_t *seen, int64_t seen_length,
          int64_t seen_stride, float penalty, int64_t k, float *values, int64_t *tokens, int64_t rows, int64_t size) {
    const int64_t blocks = (size + BLOCK - 1) / BLOCK;
    std::vector<float> maxima(blocks);
    std::vector<std::pair<float, int64_t>> penalised;
    T lowest;
    narrow(-INFINITY, lowest);
    for (int64_t number = 0; number < rows; ++number) {
        T *row = logits + number * size;
        for (int64_t block = 0; block < blocks; ++block) maxima[block] = block_maximum(row, block * BLOCK, size);
        const float normal = normaliser(row, size, *std::max_element(maxima.begin(), maxima.end()));
        auto take = [&](int64_t token) {
            row[token] = lowest;
            maxima[token / BLOCK] = block_maximum(row, token / BLOCK * BLOCK, size);
        };
        for (int64_t i = 0; i < banned_count; ++i) take(banned[i]);
        penalised.clear();
        for (int64_t i = 0; i < seen_length; ++i) {
            const int64_t token = seen[number * seen_stride + i];
            const float value = widen(row[token]) - normal;
            if (!(value > -INFINITY)) continue;  // banned, or met before
            penalised.emplace_back(-(value < 0 ? value * penalty : value / penalty), token);
            take(token);
        }
        std::sort(penalised.begin(), penalised.end());
        auto next = penalised.begin();
        for (int64_t i = 0; i < k; ++i) {
            const int64_t block = std::max_element(maxima.begin(), maxima.end()) - maxima.begin();
            float value = maxima[block] - normal;
            int64_t token = block * BLOCK;
            if (next != penalised.end() && -next->first > value) {
                value = -next->first, token = next->second, ++next;
            } else {
                const int64_t end = std::min(token + BLOCK, size) - 1;
                while (token < end && widen(row[token]) != maxima[block]) ++token;
                take(token);
            }
            values[number * k + i] = value;
            tokens[number * k + i] = token;
        }
    }
}

// Negative log-likelihood of each row's target; with `gradient` the logits become its gradient.
template <typename T>
void losses(T *logits, const int64_t *targets, float *out, int64_t rows, int64_t size, bool gradient) {
    for (int64_t number = 0; number < rows; ++number) {
        T *row = logits + number * size;
        lanes largest = lanes{} - INFINITY;
        for (int64_t start = 0; start < size; start += BLOCK)
            largest = larger(largest, largest_of(block_of(row, start, size)));
        const float normal = normaliser(row, size, maximum(largest));
        const float target = widen(row[targets[number]]);
        out[number] = normal - target;
        if (!gradient) continue;
        for (int64_t start = 0; start < size; start += BLOCK) {
            const Block block = block_of(row, start, size);
            T last[BLOCK], *to = start + BLOCK > size ? last : row + start;
            for (int i = 0; i < BLOCK / LANES; ++i) store(exponential(block.part[i] - normal), to + i * LANES);
            if (to == last) std::copy(last, last + (size - start), row + start);
        }
        narrow(std::exp(target - normal) - 1, row[targets[number]]);
    }
}

}  // namespace
