#include "internal.h"

CK_INLINE void add(const ck_add_arguments *a, size_t begin, size_t end, const ck_element type) {
    const void *left = a->left, *right = a->right;
    void *output = a->output;
    CK_INDEPENDENT
    for (size_t i = begin; i < end; i++)
        ck_store(output, i, ck_load(left, i, type) + ck_load(right, i, type), type);
}

CK_CLONES
static void add_range(const void *pointer, size_t begin, size_t end) {
    const ck_add_arguments *a = pointer;
    if (a->type == CK_BFLOAT16) add(a, begin, end, CK_BFLOAT16);
    else add(a, begin, end, CK_FLOAT32);
}

void ck_add(const ck_add_arguments *arguments) { ck_for_range(add_range, arguments, arguments->count, 1); }

CK_INLINE void add_relu_backward(
    const ck_add_relu_backward_arguments *a, size_t begin, size_t end, const ck_element type) {
    const void *left = a->left, *right = a->right, *output = a->output;
    void *gradient = a->gradient;
    CK_INDEPENDENT
    for (size_t i = begin; i < end; i++) {
        const float sum = ck_load(left, i, type) + ck_load(right, i, type);
        ck_store(gradient, i, ck_load(output, i, type) > 0 ? sum : 0, type);
    }
}

CK_CLONES
static void add_relu_backward_range(const void *pointer, size_t begin, size_t end) {
    const ck_add_relu_backward_arguments *a = pointer;
    if (a->type == CK_BFLOAT16) add_relu_backward(a, begin, end, CK_BFLOAT16);
    else add_relu_backward(a, begin, end, CK_FLOAT32);
}

void ck_add_relu_backward(const ck_add_relu_backward_arguments *arguments) {
    ck_for_range(add_relu_backward_range, arguments, arguments->count, 1);
}

CK_INLINE void scale(const ck_scale_arguments *a, size_t begin, size_t end, const ck_element type) {
    const void *input = a->input;
    void *output = a->output;
    const float factor = a->factor;
    CK_INDEPENDENT
    for (size_t i = begin; i < end; i++) ck_store(output, i, factor * ck_load(input, i, type), type);
}

CK_CLONES
static void scale_range(const void *pointer, size_t begin, size_t end) {
    const ck_scale_arguments *a = pointer;
    if (a->type == CK_BFLOAT16) scale(a, begin, end, CK_BFLOAT16);
    else scale(a, begin, end, CK_FLOAT32);
}

void ck_scale(const ck_scale_arguments *arguments) {
    ck_for_range(scale_range, arguments, arguments->count, 1);
}

CK_CLONES
static void widen_range(const void *pointer, size_t begin, size_t end) {
    const ck_convert_arguments *a = pointer;
    const uint16_t *restrict input = a->input;
    float *restrict output = a->output;
    for (size_t i = begin; i < end; i++) output[i] = ck_from_bfloat16(input[i]);
}

void ck_widen(const ck_convert_arguments *arguments) {
    ck_for_range(widen_range, arguments, arguments->count, 1);
}

CK_CLONES
static void narrow_range(const void *pointer, size_t begin, size_t end) {
    const ck_convert_arguments *a = pointer;
    const float *restrict input = a->input;
    uint16_t *restrict output = a->output;
    for (size_t i = begin; i < end; i++) output[i] = ck_to_bfloat16(input[i]);
}

void ck_narrow(const ck_convert_arguments *arguments) {
    ck_for_range(narrow_range, arguments, arguments->count, 1);
}

CK_CLONES
static void round_range(const void *pointer, size_t begin, size_t end) {
    const ck_convert_arguments *a = pointer;
    const float *restrict input = a->input;
    float *restrict output = a->output;
    for (size_t i = begin; i < end; i++) output[i] = ck_from_bfloat16(ck_to_bfloat16(input[i]));
}

void ck_round(const ck_convert_arguments *arguments) {
    ck_for_range(round_range, arguments, arguments->count, 1);
}
