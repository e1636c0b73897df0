#include "CKernelsOptimizer.h"
#include "masks.h"

CK_INLINE void mask_lanes(const ck_hold_zeros_arguments *a, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i += CK_LANES) {
        const size_t some = end - i < CK_LANES ? end - i : CK_LANES;
        const ck_lanes kept = ck_keep_masked(
            ck_read_some(a->values, i, some, CK_FLOAT32), a->mask + i, some);
        ck_write_some(a->values, i, some, kept, CK_FLOAT32);
    }
}

CK_CLONES
static void mask_range(const void *pointer, size_t begin, size_t end) { mask_lanes(pointer, begin, end); }

void ck_hold_zeros(const ck_hold_zeros_arguments *arguments) { ck_for_range(mask_range, arguments, arguments->count, 1); }

CK_CLONES
static void score_range(const void *pointer, size_t begin, size_t end) {
    const ck_score_arguments *a = pointer;
    const float *restrict weight = a->weight, *restrict gradient = a->gradient;
    float *restrict score = a->score;
    for (size_t i = begin; i < end; i++) score[i] += gradient[i] * weight[i];
}

void ck_score(const ck_score_arguments *arguments) {
    if (arguments->state->gathers_scores) ck_for_range(score_range, arguments, arguments->count, 1);
}
