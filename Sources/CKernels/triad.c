#include "internal.h"

CK_CLONES
static void triad_range(const void *pointer, size_t begin, size_t end) {
    const ck_triad_arguments *a = pointer;
    const float *left = a->left, *right = a->right;
    float *output = a->output;
    const float factor = a->factor;
    for (size_t i = begin; i < end; i++) output[i] = left[i] + factor * right[i];
}

void ck_triad(const ck_triad_arguments *arguments) {
    ck_for_range(triad_range, arguments, arguments->count, 1);
}
