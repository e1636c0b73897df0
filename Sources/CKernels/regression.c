#include "rows.h"
#include "vector_math.h"

typedef enum { SQUARED, ABSOLUTE, HUBER, BINARY } kind;

/// Losses of sixteen outputs; `slope` takes their derivatives by the output. `delta` is Huber's.
CK_INLINE void point_losses(
    ck_lanes *loss, ck_lanes *slope, const ck_lanes *output, const ck_lanes *target, float delta,
    const kind kind) {
    const ck_lanes z = *output, t = *target, difference = z - t;
    const ck_lanes size = __builtin_elementwise_abs(difference);
    switch (kind) {
    case SQUARED:
        *loss = difference * difference;
        *slope = 2.0f * difference;
        break;
    case ABSOLUTE:
        *loss = size;
        // 0 and NaN are their own sign.
        *slope = difference > 0.0f ? (ck_lanes)1.0f : difference < 0.0f ? (ck_lanes)-1.0f : difference;
        break;
    case HUBER: {
        const ck_lanes edge = difference > 0.0f ? (ck_lanes)delta : (ck_lanes)-delta;
        const ck_int_lanes isFar = size > delta;
        *loss = isFar ? delta * (size - 0.5f * delta) : 0.5f * difference * difference;
        *slope = isFar ? edge : difference;
        break;
    }
    case BINARY: {
        const ck_lanes e = ck_exp_values(-__builtin_elementwise_abs(z)), logarithm = ck_log1p_values(e);
        *loss = (z < 0.0f ? (ck_lanes)0.0f : z) - z * t + logarithm;
        *slope = (z < 0.0f ? e : (ck_lanes)1.0f) / (1.0f + e) - t;
        break;
    }
    }
}

CK_INLINE void point_row(const ck_loss_arguments *a, size_t row, const ck_element type, const kind kind) {
    const size_t width = a->width, start = row * width;
    const size_t label = a->labels ? (size_t)a->labels[row] : 0;
    const float scale = a->gradient ? a->state->inverse_count / (float)width : 0;
    int isCorrect = 0;
    if (a->labels) {
        const float maximum = ck_row_maximum(a->outputs, start, width, type);
        isCorrect = ck_is_first(a->outputs, start, label, maximum, type);
    }
    a->row_correct[row] = isCorrect;
    ck_lanes sums = 0;
    for (size_t c = 0; c < width; c += CK_LANES) {
        ck_lanes output, target = 0, loss, slope;
        ck_load_lanes(&output, a->outputs, start + c, width - c, 0, type);
        if (a->targets) ck_load_lanes(&target, a->targets, start + c, width - c, 0, CK_FLOAT32);
        else if (label - c < CK_LANES) target[label - c] = 1;
        point_losses(&loss, &slope, &output, &target, a->delta, kind);
        // Behind the row's end only a binary loss is not 0.
        if (kind == BINARY) ck_clear_lanes(&loss, width - c);
        sums += loss;
        if (!a->gradient) continue;
        slope *= scale;
        ck_store_lanes(a->gradient, start + c, width - c, &slope, type);
    }
    a->row_loss[row] = ck_sum_lanes(&sums) / (float)width;
}

CK_INLINE void point_rows(
    const ck_loss_arguments *a, size_t begin, size_t end, const ck_element type, const kind kind) {
    for (size_t row = begin; row < end; row++) {
        if (!ck_skips_row(a, row, type)) point_row(a, row, type, kind);
    }
}

#define LOSS(name, kind)                                                                      \
    CK_CLONES                                                                                 \
    static void name##_rows(const ck_loss_arguments *a, size_t begin, size_t end) {           \
        if (a->element == CK_BFLOAT16) point_rows(a, begin, end, CK_BFLOAT16, kind);          \
        else point_rows(a, begin, end, CK_FLOAT32, kind);                                     \
    }                                                                                         \
    void ck_##name(const ck_loss_arguments *arguments) { ck_for_rows(name##_rows, arguments); }

LOSS(squared_error, SQUARED)
LOSS(absolute_error, ABSOLUTE)
LOSS(huber, HUBER)
LOSS(binary_cross_entropy, BINARY)
