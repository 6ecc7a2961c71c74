// Sixteen numbers at a time, in plain C++ for whatever vectors the machine has; sums run in float32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

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

// Sixteen numbers at a time; compilers cut them to what the processor has.
constexpr int64_t LANES = 16;
typedef float four __attribute__((vector_size(16)));
typedef float eight __attribute__((vector_size(32)));
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

// Into the second cache: a head's keys and values together are more than the first one holds.
template <int PARTS, typename T>
inline void fetch(const T *from) {
    for (size_t byte = 0; byte < PARTS * LANES * sizeof(T); byte += 64)
        __builtin_prefetch(reinterpret_cast<const char *>(from) + byte, 0, 2);
}

inline void store(lanes values, float *to) { std::memcpy(to, &values, sizeof values); }
inline void store(lanes values, bfloat16 *to) {
    lanes_of_bits bits = (lanes_of_bits)values;
    const lanes_of_halves halves = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, lanes_of_halves);
    std::memcpy(to, &halves, sizeof halves);
}

template <typename V>
inline V larger(V a, V b) {
    return a > b ? a : b;
}

// SHUFFLED takes numbers of two vectors in another order: 0 to 15 are the first one's, 16 to 31 the second one's. lower and
// upper are a vector's halves. gcc has clang's builtin since version 12. Before, it has one that keeps the size, and a copy
// makes the halves; where the builtin is there, that copy is a fifth slower.
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLED(A, B, ...) __builtin_shufflevector(A, B, __VA_ARGS__)
inline eight lower(lanes all) { return __builtin_shufflevector(all, all, 0, 1, 2, 3, 4, 5, 6, 7); }
inline eight upper(lanes all) { return __builtin_shufflevector(all, all, 8, 9, 10, 11, 12, 13, 14, 15); }
inline four lower(eight all) { return __builtin_shufflevector(all, all, 0, 1, 2, 3); }
inline four upper(eight all) { return __builtin_shufflevector(all, all, 4, 5, 6, 7); }
#else
#define SHUFFLED(A, B, ...) __builtin_shuffle(A, B, lanes_of_bits{__VA_ARGS__})
template <typename Half, typename Whole>
inline Half half_of(const Whole &whole, size_t start) {
    Half half;
    std::memcpy(&half, reinterpret_cast<const char *>(&whole) + start, sizeof half);
    return half;
}
inline eight lower(lanes all) { return half_of<eight>(all, 0); }
inline eight upper(lanes all) { return half_of<eight>(all, sizeof(eight)); }
inline four lower(eight all) { return half_of<four>(all, 0); }
inline four upper(eight all) { return half_of<four>(all, sizeof(four)); }
#endif

// One number of sixteen, by halves.
template <typename F>
inline float folded(lanes all, F two) {
    const auto of_eight = two(lower(all), upper(all));
    const auto of_four = two(lower(of_eight), upper(of_eight));
    return two(two(of_four[0], of_four[2]), two(of_four[1], of_four[3]));
}
inline float maximum(lanes values) { return folded(values, [](auto a, auto b) { return larger(a, b); }); }
inline float total(lanes values) { return folded(values, [](auto a, auto b) { return a + b; }); }

// exp of what is not positive, to 2e-7 relatively near 0 and as much more below as its argument is rounded there: 2^n of the
// nearest whole n, times a polynomial for the rest (minimax to 9.2e-8, 1 at 0).
inline lanes exponential(lanes x) {
    x = larger(x, lanes{} - 87.0f);
    const lanes shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the last bits are n
    const lanes rest = x * 1.44269504f - (shifted - 12582912.0f);
    lanes power = rest * 1.326472727e-03f + 9.671512728e-03f;
    power = power * rest + 5.550733744e-02f;
    power = power * rest + 2.402224208e-01f;
    power = power * rest + 6.931469776e-01f;
    power = power * rest + 1.0f;
    return (lanes)((lanes_of_bits)power + ((lanes_of_bits)shifted << 23));
}

// The totals of four times sixteen numbers.
inline four totals(lanes a, lanes b, lanes c, lanes d) {
    const lanes ab = SHUFFLED(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +
                     SHUFFLED(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    const lanes cd = SHUFFLED(c, d, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +
                     SHUFFLED(c, d, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    const lanes abcd = SHUFFLED(ab, cd, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
                       SHUFFLED(ab, cd, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    const eight half = lower(abcd) + upper(abcd);
    return lower(half) + upper(half);
}

}  // namespace
