// What decoding and scoring do between their matrix products, on a CPU: attention of beams to shared ancestors, the choice
// of the best tokens, the loss of given ones. Plain C++ for whatever vectors the machine has; Python calls it through ctypes
// (kernels.py), each call on one thread. Sums run in float32, those over a vocabulary in double by blocks.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

namespace {

struct bfloat16 {
    uint16_t bits;
};

inline float widen(float value) { return value; }
inline float widen(bfloat16 value) {
    uint32_t bits = uint32_t(value.bits) << 16;
    float wide;
    std::memcpy(&wide, &bits, 4);
    return wide;
}

inline void narrow(float value, float &out) { out = value; }
inline void narrow(float value, bfloat16 &out) {  // to the nearest, ties to even, as torch does
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    out.bits = uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// exp of what is not positive, to 2e-7 relatively (Cephes' polynomial); the standard library's does not vectorise.
inline float exponential(float x) {
    x = x > -87.0f ? x : -87.0f;
    float n = std::rint(x * 1.44269504f);
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    uint32_t bits = uint32_t(int32_t(n) + 127) << 23;
    float scale;
    std::memcpy(&scale, &bits, 4);
    return p * scale;
}

// Sixteen numbers at a time; compilers cut them to what the processor has.
constexpr int64_t LANES = 16;
typedef float four __attribute__((vector_size(16)));
typedef float lanes __attribute__((vector_size(LANES * 4)));
typedef uint32_t lanes_of_bits __attribute__((vector_size(LANES * 4)));
typedef uint16_t lanes_of_halves __attribute__((vector_size(LANES * 2)));

inline lanes load(const float *from) {
    lanes out;
    std::memcpy(&out, from, sizeof out);
    return out;
}
inline lanes load(const bfloat16 *from) {
    lanes_of_halves halves;
    std::memcpy(&halves, from, sizeof halves);
    return (lanes)(__builtin_convertvector(halves, lanes_of_bits) << 16);
}

template <int PARTS, typename T>
inline void fetch(const T *from) {
    for (size_t byte = 0; byte < PARTS * LANES * sizeof(T); byte += 64)
        __builtin_prefetch(reinterpret_cast<const char *>(from) + byte);
}

inline void store(lanes values, float *to) { std::memcpy(to, &values, sizeof values); }
inline void store(lanes values, bfloat16 *to) {
    lanes_of_bits bits = (lanes_of_bits)values;
    const lanes_of_halves halves = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, lanes_of_halves);
    std::memcpy(to, &halves, sizeof halves);
}

// The totals of four times sixteen numbers.
inline four totals(lanes a, lanes b, lanes c, lanes d) {
    const lanes ab = __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +
                     __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    const lanes cd = __builtin_shufflevector(c, d, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +
                     __builtin_shufflevector(c, d, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    const lanes abcd = __builtin_shufflevector(ab, cd, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
                       __builtin_shufflevector(ab, cd, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    const auto half = __builtin_shufflevector(abcd, abcd, 0, 1, 2, 3, 4, 5, 6, 7) +
                      __builtin_shufflevector(abcd, abcd, 8, 9, 10, 11, 12, 13, 14, 15);
    return __builtin_shufflevector(half, half, 0, 1, 2, 3) + __builtin_shufflevector(half, half, 4, 5, 6, 7);
}

constexpr float UNSEEN = -3e38f;
constexpr int64_t PADDING = 16;  // lists of slots and of weights are as much longer, so that four can be taken at a time

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
    for (int b = 0; b < BEAMS; ++b) {
        float *weight = weights + b * width;
        float largest = UNSEEN, sum = 0;
        for (int64_t j = 0; j < count; ++j) weight[j] = (by[j] >> (beam + b)) & 1 ? weight[j] : UNSEEN;
#pragma omp simd reduction(max : largest)
        for (int64_t j = 0; j < count; ++j) largest = weight[j] > largest ? weight[j] : largest;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < count; ++j) {
            const float e = weight[j] > UNSEEN ? exponential(weight[j] - largest) : 0.0f;
            weight[j] = e;
            sum += e;
        }
        const float share = 1 / sum;
        for (int64_t j = 0; j < count; ++j) weight[j] *= share;
    }
    const T *next = keys + at.capacity * size;  // after the last head nothing of ours: a fetch reads nothing
    for (start = 0; start + 4 * LANES <= size; start += 4 * LANES)
        sums<BEAMS, 4>(weights, values + start, next + start, slots, count, out + start, size, width, stride);
    for (; start + 2 * LANES <= size; start += 2 * LANES)
        sums<BEAMS, 2>(weights, values + start, next + start, slots, count, out + start, size, width, stride);
    for (; start < size; start += LANES)
        sums<BEAMS, 1>(weights, values + start, next + start, slots, count, out + start, size, width, stride);
}

// One layer: store the keys and values of the prompts' newest tokens, then attend.
template <typename T>
void attend(const T *projected, T *keys, T *values, const int32_t *own, const uint32_t *seen, T *out, int64_t prompts,
            const Sizes &at) {
    const int64_t size = at.size, capacity = at.capacity, hidden = at.heads * size;
    const float scale = 1 / std::sqrt(float(size));
    std::vector<int32_t> slots(at.used + PADDING);
    std::vector<uint32_t> by(at.used);
    std::vector<float> weights(5 * (at.used + PADDING)), queries(5 * size);
    for (int64_t prompt = 0; prompt < prompts; ++prompt) {
        int64_t count = 0;
        for (int64_t slot = 0; slot < at.used; ++slot)
            if (const uint32_t beams = seen[prompt * at.used + slot]) slots[count] = int32_t(slot), by[count++] = beams;
        std::fill(slots.begin() + count, slots.begin() + count + PADDING, slots[count - 1]);
        for (int64_t head = 0; head < at.heads; ++head) {
            T *k = keys + (prompt * at.heads + head) * capacity * size;
            T *v = values + (prompt * at.heads + head) * capacity * size;
            for (int64_t beam = 0; beam < at.beams; ++beam) {
                const T *row = projected + (prompt * at.beams + beam) * 3 * hidden + head * size;
                const int64_t slot = own[prompt * at.beams + beam];
                std::copy(row + hidden, row + hidden + size, k + slot * size);
                std::copy(row + 2 * hidden, row + 2 * hidden + size, v + slot * size);
            }
            for (int64_t beam = 0; beam < at.beams; beam += 5) {
                const int64_t some = std::min<int64_t>(5, at.beams - beam);
                for (int64_t b = 0; b < some; ++b)
                    for (int64_t i = 0; i < size; ++i)
                        queries[b * size + i] =
                            scale * widen(projected[(prompt * at.beams + beam + b) * 3 * hidden + head * size + i]);
                auto work = some == 5   ? attend_head<5, T>
                            : some == 4 ? attend_head<4, T>
                            : some == 3 ? attend_head<3, T>
                            : some == 2 ? attend_head<2, T>
                                        : attend_head<1, T>;
                work(queries.data(), k, v, by.data(), slots.data(), count, beam, weights.data(),
                     out + (prompt * at.beams + beam) * hidden + head * size, at);
            }
        }
    }
}

constexpr int64_t BLOCK = 64;

// Logarithm of a row's sum of exponentials.
template <typename T>
float normaliser(const T *row, int64_t size, float largest) {
    double total = 0;
    for (int64_t start = 0; start < size; start += BLOCK) {
        const int64_t end = std::min(start + BLOCK, size);
        float part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = start; i < end; ++i) part += exponential(widen(row[i]) - largest);
        total += part;
    }
    return float(largest + std::log(total));
}

template <typename T>
float block_maximum(const T *row, int64_t start, int64_t size) {
    const int64_t end = std::min(start + BLOCK, size);
    float largest = -INFINITY;
#pragma omp simd reduction(max : largest)
    for (int64_t i = start; i < end; ++i) {
        const float value = widen(row[i]);
        largest = value > largest ? value : largest;
    }
    return largest;
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
        float largest = -INFINITY;
        for (int64_t start = 0; start < size; start += BLOCK)
            largest = std::max(largest, block_maximum(row, start, size));
        const float normal = normaliser(row, size, largest);
        const float target = widen(row[targets[number]]);
        out[number] = normal - target;
        if (!gradient) continue;
#pragma omp simd
        for (int64_t i = 0; i < size; ++i) narrow(exponential(widen(row[i]) - normal), row[i]);
        narrow(std::exp(target - normal) - 1, row[targets[number]]);
    }
}

}  // namespace

#define EXPORTED(NAME, T)                                                                                              \
    void attend_##NAME(const T *projected, T *keys, T *values, const int32_t *own, const uint32_t *seen, T *out,       \
                       int64_t prompts, int64_t beams, int64_t heads, int64_t size, int64_t capacity, int64_t used) {  \
        attend(projected, keys, values, own, seen, out, prompts, {beams, heads, size, capacity, used});                \
    }                                                                                                                  \
    void best_##NAME(T *logits, const int64_t *banned, int64_t banned_count, const int64_t *seen, int64_t seen_length, \
                     int64_t seen_stride, float penalty, int64_t k, float *values, int64_t *tokens, int64_t rows,      \
                     int64_t size) {                                                                                   \
        best(logits, banned, banned_count, seen, seen_length, seen_stride, penalty, k, values, tokens, rows, size);    \
    }                                                                                                                  \
    void losses_##NAME(T *logits, const int64_t *targets, float *out, int64_t rows, int64_t size, bool gradient) {     \
        losses(logits, targets, out, rows, size, gradient);                                                            \
    }

extern "C" {
EXPORTED(float32, float)
EXPORTED(bfloat16, bfloat16)
}
