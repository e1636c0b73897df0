#include "vector_math.h"

/// The largest lane; lanes that are NaN do not count.
CK_INLINE float max_lanes(ck_lanes value) { return __builtin_reduce_max(value); }

/// Lanes of a row from `i` on; beyond its end they are `rest`.
CK_INLINE ck_lanes load_row(const void *elements, size_t row, size_t i, size_t width, float rest,
    const ck_element type) {
    if (i + CK_LANES <= width) return ck_read(elements, row + i, type);
    return ck_keep_first(ck_read_some(elements, row + i, width - i, type), (int32_t)(width - i),
        ck_splat(rest));
}

CK_INLINE void store_row(void *elements, size_t row, size_t i, size_t width, ck_lanes value,
    const ck_element type) {
    if (i + CK_LANES <= width) ck_write(elements, row + i, value, type);
    else ck_write_some(elements, row + i, width - i, value, type);
}

/// exp(x - maximum) is computed twice rather than stored, so that a bfloat16 row is rounded once.
CK_INLINE void normalise(const ck_softmax_arguments *a, size_t begin, size_t end, const ck_element type) {
    for (size_t unit = begin; unit < end; unit++) {
        const size_t row = unit * a->width;
        ck_lanes top = ck_splat(-INFINITY), total = ck_splat(0);
        for (size_t i = 0; i < a->width; i += CK_LANES) {
            ck_lanes value = load_row(a->input, row, i, a->width, -INFINITY, type);
            top = value > top ? value : top;
        }
        const ck_lanes maximum = ck_splat(max_lanes(top));
        for (size_t i = 0; i < a->width; i += CK_LANES) {
            ck_lanes value = ck_exp_values(load_row(a->input, row, i, a->width, 0, type) - maximum);
            size_t left = a->width - i;
            total += left < CK_LANES ? ck_keep_first(value, (int32_t)left, ck_splat(0)) : value;
        }
        const ck_lanes inverse = ck_splat(1.0f / ck_sum_values(total));
        for (size_t i = 0; i < a->width; i += CK_LANES) {
            ck_lanes value = ck_exp_values(load_row(a->input, row, i, a->width, 0, type) - maximum);
            store_row(a->output, row, i, a->width, value * inverse, type);
        }
    }
}

CK_CLONES
static void softmax_range(const void *pointer, size_t begin, size_t end) {
    const ck_softmax_arguments *a = pointer;
    if (a->element == CK_BFLOAT16) normalise(a, begin, end, CK_BFLOAT16);
    else normalise(a, begin, end, CK_FLOAT32);
}

void ck_softmax(const ck_softmax_arguments *arguments) {
    ck_for_units(softmax_range, arguments, arguments->rows, arguments->width * 4);
}

CK_INLINE void differentiate(const ck_softmax_backward_arguments *a, size_t begin, size_t end,
                             const ck_element type) {
    for (size_t unit = begin; unit < end; unit++) {
        const size_t row = unit * a->width;
        ck_lanes total = ck_splat(0);
        for (size_t i = 0; i < a->width; i += CK_LANES)
            total += load_row(a->output, row, i, a->width, 0, type) *
                     load_row(a->output_gradient, row, i, a->width, 0, type);
        const ck_lanes mean = ck_splat(ck_sum_values(total));
        for (size_t i = 0; i < a->width; i += CK_LANES) {
            ck_lanes gradient = load_row(a->output_gradient, row, i, a->width, 0, type);
            ck_lanes value = load_row(a->output, row, i, a->width, 0, type) * (gradient - mean);
            store_row(a->input_gradient, row, i, a->width, value, type);
        }
    }
}

CK_CLONES
static void softmax_backward_range(const void *pointer, size_t begin, size_t end) {
    const ck_softmax_backward_arguments *a = pointer;
    if (a->element == CK_BFLOAT16) differentiate(a, begin, end, CK_BFLOAT16);
    else differentiate(a, begin, end, CK_FLOAT32);
}

void ck_softmax_backward(const ck_softmax_backward_arguments *arguments) {
    ck_for_units(softmax_backward_range, arguments, arguments->rows, arguments->width * 2);
}
