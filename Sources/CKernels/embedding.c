#include "lane_values.h"

CK_INLINE void look_up(const ck_embedding_arguments *a, size_t begin, size_t end, const ck_element type) {
    for (size_t row = begin; row < end; row++) {
        const size_t id = (size_t)(int64_t)a->ids[row], to = row * a->width;
        // A negative id is huge as size_t.
        if (id >= a->vocabulary) {
            for (size_t i = 0; i < a->width; i++) ck_store(a->output, to + i, 0, type);
            continue;
        }
        const float *line = a->table + id * a->width;
        size_t i = 0;
        for (; i + CK_LANES <= a->width; i += CK_LANES)
            ck_write(a->output, to + i, ck_read(line, i, CK_FLOAT32), type);
        for (; i < a->width; i++) ck_store(a->output, to + i, line[i], type);
    }
}

CK_CLONES
static void embedding_range(const void *pointer, size_t begin, size_t end) {
    const ck_embedding_arguments *a = pointer;
    if (a->element == CK_BFLOAT16) look_up(a, begin, end, CK_BFLOAT16);
    else look_up(a, begin, end, CK_FLOAT32);
}

void ck_embedding(const ck_embedding_arguments *arguments) {
    ck_for_units(embedding_range, arguments, arguments->rows, arguments->width);
}

void ck_token_lengths(const ck_token_lengths_arguments *a) {
    for (size_t sample = 0; sample < a->batch; sample++) {
        const int32_t *ids = a->ids + sample * a->tokens;
        size_t length = a->tokens;
        while (length > 1 && ids[length - 1] == a->padding) length -= 1;
        a->lengths[sample] = (int32_t)length;
    }
}

/// Columns `begin` to `end` of every row: split this way, no row of the table belongs to two threads' sums,
/// and the order of a sum is that of the rows.
CK_INLINE void scatter(const ck_embedding_backward_arguments *a, size_t begin, size_t end,
    const ck_element type) {
    if (!a->adds)
        for (size_t v = 0; v < a->vocabulary; v++)
            for (size_t i = begin; i < end; i++) a->table_gradient[v * a->width + i] = 0;
    for (size_t row = 0; row < a->rows; row++) {
        const size_t id = (size_t)(int64_t)a->ids[row], from = row * a->width;
        if (id >= a->vocabulary) continue;
        float *line = a->table_gradient + id * a->width;
        size_t i = begin;
        for (; i + CK_LANES <= end; i += CK_LANES) {
            ck_lanes sum = ck_read(line, i, CK_FLOAT32) + ck_read(a->output_gradient, from + i, type);
            ck_write(line, i, sum, CK_FLOAT32);
        }
        for (; i < end; i++) line[i] += ck_load(a->output_gradient, from + i, type);
    }
}

CK_CLONES
static void embedding_backward_range(const void *pointer, size_t begin, size_t end) {
    const ck_embedding_backward_arguments *a = pointer;
    if (a->element == CK_BFLOAT16) scatter(a, begin, end, CK_BFLOAT16);
    else scatter(a, begin, end, CK_FLOAT32);
}

void ck_embedding_backward(const ck_embedding_backward_arguments *arguments) {
    ck_for_range(embedding_backward_range, arguments, arguments->width,
        arguments->rows + arguments->vocabulary);
}
