#include "internal.h"
#include <math.h>

CK_CLONES
static void fold_rows(const void *pointer, size_t begin, size_t end) {
    const ck_fold_norm_arguments *a = pointer;
    for (size_t row = begin; row < end; row++) {
        const double factor = (double)a->scale[row] / sqrt((double)a->variance[row] + (double)a->epsilon);
        const double bias = a->bias ? (double)a->bias[row] : 0;
        a->folded_bias[row] = (float)((bias - (double)a->mean[row]) * factor + (double)a->shift[row]);
        const float *from = a->weights + row * a->width;
        float *to = a->folded_weights + row * a->width, rounded = (float)factor;
        CK_INDEPENDENT
        for (size_t i = 0; i < a->width; i++) to[i] = from[i] * rounded;
    }
}

void ck_fold_norm(const ck_fold_norm_arguments *a) { ck_for_units(fold_rows, a, a->rows, a->width); }
