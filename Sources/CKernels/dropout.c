#include "internal.h"

enum { LANES = 16 };

/// Sixteen consecutive Philox4x32-10 blocks; word w of block b goes to words[w][b].
static inline __attribute__((always_inline)) void philox(
    uint32_t first_block, uint32_t step, uint32_t layer, uint32_t high, uint64_t seed,
    uint32_t words[4][LANES]) {
    for (int lane = 0; lane < LANES; lane++) {
        uint32_t c0 = first_block + (uint32_t)lane, c1 = step, c2 = layer, c3 = high;
        uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
#pragma clang loop unroll(full)
        for (int round = 0; round < 10; round++) {
            uint64_t p0 = (uint64_t)c0 * 0xD2511F53u, p1 = (uint64_t)c2 * 0xCD9E8D57u;
            c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
            c1 = (uint32_t)p1;
            c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
            c3 = (uint32_t)p0;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        words[0][lane] = c0;
        words[1][lane] = c1;
        words[2][lane] = c2;
        words[3][lane] = c3;
    }
}

/// One unit is 64 elements: sixteen blocks of four words.
CK_INLINE void dropout(const ck_dropout_arguments *a, size_t begin, size_t end, const ck_element type) {
    const float scale = 1.0f / (1.0f - a->probability);
    // Kept when the 24-bit uniform number is not below p.
    const uint32_t threshold = (uint32_t)(a->probability * 0x1p24f + 0.5f);
    const uint64_t step = a->state->step;
    const uint32_t high = a->purpose + ((uint32_t)(step >> 32) << 8);
    uint32_t words[4][LANES];
    for (size_t unit = begin; unit < end; unit++) {
        philox((uint32_t)(unit * LANES), (uint32_t)step, a->layer, high, a->state->seed, words);
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
