// What decoding and scoring do between their matrix products, on a CPU. Python calls it through ctypes (../kernels.py), each
// call on one thread.

#include "attention.h"
#include "vocabulary.h"

#define EXPORTED(NAME, T)                                                                                              \
    void attend_##NAME(const T *projected, T *keys, T *values, const int32_t *own, const uint32_t *seen, T *out,       \
                       int64_t prompts, int64_t beams, int64_t heads, int64_t size, int64_t capacity, int64_t used) {  \
        attend(projected, keys, values, own, seen, out, prompts, {beams, heads, size, capacity, used});                \
    }                                                                                                                  \
    void attend_causally_##NAME(const T *projected, T *out, int64_t blocks, int64_t length, int64_t heads,             \
                                int64_t size) {                                                                        \
        attend_causally(projected, out, blocks, length, heads, size);                                                  \
    }                                                                                                                  \
    void best_##NAME(T *logits, const int64_t *banned, int64_t banned_count, const int64_t *seen, int64_t seen_length, \
                     int64_t seen_stride, float penalty, int64_t k, float *values, int64_t *tokens, int64_t rows,      \
                     int64_t size) {                                                                                   \
        best(logits, banned, banned_count, seen, seen_length, seen_stride, penalty, k, values, tokens, rows, size);    \
    }                                                                                                                  \
    void losses_##NAME(T *logits, const int64_t *targets, float *out, int64_t rows, int64_t size, bool gradient) {     \
        losses(logits, targets, out, rows, size, gradient);                                                            \
    }                                                                                                                  \
    void predictions_##NAME(const T *logits, const int64_t *targets, float *out, int64_t rows, int64_t size) {         \
        predictions(logits, targets, out, rows, size);                                                                 \
    }

extern "C" {
EXPORTED(float32, float)
EXPORTED(bfloat16, bfloat16)
}
