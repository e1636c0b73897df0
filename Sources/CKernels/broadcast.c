#include "lane_values.h"

CK_INLINE void add_to_batch(const ck_add_to_batch_arguments *a, size_t begin, size_t end,
    const ck_element type) {
    for (size_t b = begin; b < end; b++) {
        const size_t start = b * a->count;
        size_t i = 0;
        for (; i + CK_LANES <= a->count; i += CK_LANES) {
            ck_lanes sum = ck_read(a->input, start + i, type) + ck_read(a->addend, i, CK_FLOAT32);
            ck_write(a->output, start + i, sum, type);
        }
        for (; i < a->count; i++)
            ck_store(a->output, start + i, ck_load(a->input, start + i, type) + a->addend[i], type);
    }
}

CK_CLONES
static void add_to_batch_range(const void *pointer, size_t begin, size_t end) {
    const ck_add_to_batch_arguments *a = pointer;
    if (a->element == CK_BFLOAT16) add_to_batch(a, begin, end, CK_BFLOAT16);
    else add_to_batch(a, begin, end, CK_FLOAT32);
}

void ck_add_to_batch(const ck_add_to_batch_arguments *arguments) {
    ck_for_units(add_to_batch_range, arguments, arguments->batch, arguments->count);
}

CK_INLINE void sum_over_batch(const ck_sum_over_batch_arguments *a, size_t begin, size_t end,
                              const ck_element type) {
    size_t i = begin;
    for (; i + CK_LANES <= end; i += CK_LANES) {
        ck_lanes sum = ck_splat(0);
        for (size_t b = 0; b < a->batch; b++) sum += ck_read(a->input, b * a->stride + a->offset + i, type);
        ck_write(a->sum, i, sum, CK_FLOAT32);
    }
    for (; i < end; i++) {
        float sum = 0;
        for (size_t b = 0; b < a->batch; b++) sum += ck_load(a->input, b * a->stride + a->offset + i, type);
        a->sum[i] = sum;
    }
}

CK_CLONES
static void sum_over_batch_range(const void *pointer, size_t begin, size_t end) {
    const ck_sum_over_batch_arguments *a = pointer;
    if (a->element == CK_BFLOAT16) sum_over_batch(a, begin, end, CK_BFLOAT16);
    else sum_over_batch(a, begin, end, CK_FLOAT32);
}

void ck_sum_over_batch(const ck_sum_over_batch_arguments *arguments) {
    ck_for_range(sum_over_batch_range, arguments, arguments->count, arguments->batch);
}

CK_INLINE void multiply(const ck_multiply_arguments *a, size_t begin, size_t end, const ck_element type) {
    size_t i = begin;
    for (; i + CK_LANES <= end; i += CK_LANES)
        ck_write(a->output, i, ck_read(a->left, i, type) * ck_read(a->right, i, type), type);
    for (; i < end; i++) ck_store(a->output, i, ck_load(a->left, i, type) * ck_load(a->right, i, type), type);
}

CK_CLONES
static void multiply_range(const void *pointer, size_t begin, size_t end) {
    const ck_multiply_arguments *a = pointer;
    if (a->element == CK_BFLOAT16) multiply(a, begin, end, CK_BFLOAT16);
    else multiply(a, begin, end, CK_FLOAT32);
}

void ck_multiply_elements(const ck_multiply_arguments *arguments) {
    ck_for_range(multiply_range, arguments, arguments->count, 1);
}

CK_INLINE void multiply_backward(const ck_multiply_backward_arguments *a, size_t begin, size_t end,
                                 const ck_element type) {
    size_t i = begin;
    for (; i + CK_LANES <= end; i += CK_LANES) {
        const ck_lanes left = ck_read(a->left, i, type), right = ck_read(a->right, i, type);
        const ck_lanes gradient = ck_read(a->output_gradient, i, type);
        ck_write(a->left_gradient, i, gradient * right, type);
        ck_write(a->right_gradient, i, gradient * left, type);
    }
    for (; i < end; i++) {
        const float left = ck_load(a->left, i, type), right = ck_load(a->right, i, type);
        const float gradient = ck_load(a->output_gradient, i, type);
        ck_store(a->left_gradient, i, gradient * right, type);
        ck_store(a->right_gradient, i, gradient * left, type);
    }
}

CK_CLONES
static void multiply_backward_range(const void *pointer, size_t begin, size_t end) {
    const ck_multiply_backward_arguments *a = pointer;
    if (a->element == CK_BFLOAT16) multiply_backward(a, begin, end, CK_BFLOAT16);
    else multiply_backward(a, begin, end, CK_FLOAT32);
}

void ck_multiply_elements_backward(const ck_multiply_backward_arguments *arguments) {
    ck_for_range(multiply_backward_range, arguments, arguments->count, 1);
}
