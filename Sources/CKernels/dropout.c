#include "philox.h"

enum { LANES = CK_PHILOX_BLOCKS };

/// One unit is 64 elements: sixteen blocks of four words.
CK_INLINE void dropout(const ck_dropout_arguments *a, size_t begin, size_t end, const ck_element type) {
    const float scale = 1.0f / (1.0f - a->probability);
    const uint32_t threshold = ck_drop_threshold(a->probability);
    const uint64_t step = a->state->step;
    const uint32_t high = ck_philox_high(step, a->purpose);
    uint32_t words[4][LANES];
    for (size_t unit = begin; unit < end; unit++) {
        ck_philox((uint32_t)(unit * LANES), (uint32_t)step, a->layer, high, a->state->seed, words);
        size_t base = unit * 4 * LANES;
        size_t count = a->count - base < 4 * LANES ? a->count - base : 4 * LANES;
        const void *input = a->input;
        void *output = a->output;
        const uint32_t *flat = &words[0][0];
        CK_INDEPENDENT
        for (size_t i = 0; i < count; i++) {
            const float value = ck_load(input, base + i, type) * scale;
            ck_store(output, base + i, (flat[i] >> 8) >= threshold ? value : 0.0f, type);
        }
    }
}

CK_CLONES
static void dropout_range(const void *pointer, size_t begin, size_t end) {
    const ck_dropout_arguments *a = pointer;
    if (a->type == CK_BFLOAT16) dropout(a, begin, end, CK_BFLOAT16);
    else dropout(a, begin, end, CK_FLOAT32);
}

void ck_dropout(const ck_dropout_arguments *arguments) {
    ck_for_range(dropout_range, arguments, (arguments->count + 63) / 64, 64 * 4);
}
