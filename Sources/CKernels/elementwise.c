#include "internal.h"

CK_CLONES
static void relu_range(const void *pointer, size_t begin, size_t end) {
    const ck_relu_arguments *a = pointer;
    const float *input = a->input;
    float *output = a->output;
    // Written so that NaN, for which both comparisons are false, passes through.
    for (size_t i = begin; i < end; i++) output[i] = input[i] < 0 ? 0 : input[i];
}

void ck_relu(const ck_relu_arguments *arguments) { ck_for_range(relu_range, arguments, arguments->count, 1); }

CK_CLONES
static void relu_backward_range(const void *pointer, size_t begin, size_t end) {
    const ck_relu_backward_arguments *a = pointer;
    const float *output = a->output;
    const float *gradient_out = a->gradient_out;
    float *gradient_in = a->gradient_in;
    for (size_t i = begin; i < end; i++) gradient_in[i] = output[i] > 0 ? gradient_out[i] : 0;
}

void ck_relu_backward(const ck_relu_backward_arguments *arguments) {
    ck_for_range(relu_backward_range, arguments, arguments->count, 1);
}

CK_CLONES
static void add_range(const void *pointer, size_t begin, size_t end) {
    const ck_add_arguments *a = pointer;
    const float *left = a->left;
    const float *right = a->right;
    float *output = a->output;
    for (size_t i = begin; i < end; i++) output[i] = left[i] + right[i];
}

void ck_add(const ck_add_arguments *arguments) { ck_for_range(add_range, arguments, arguments->count, 1); }
