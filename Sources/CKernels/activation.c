#include "activation.h"

/// Calls `body(arguments, begin, end, KIND, TYPE)` with both constant, so that each pair is a loop of its
/// own.
#define EACH_KIND(body)                                                                                      \
    switch (a->kind) {                                                                                       \
        ONE_KIND(body, CK_ACTIVATION_RELU)                                                                   \
        ONE_KIND(body, CK_ACTIVATION_RELU6)                                                                  \
        ONE_KIND(body, CK_ACTIVATION_LEAKY_RELU)                                                             \
        ONE_KIND(body, CK_ACTIVATION_GELU_ERF)                                                               \
        ONE_KIND(body, CK_ACTIVATION_GELU_TANH)                                                              \
        ONE_KIND(body, CK_ACTIVATION_SILU)                                                                   \
        ONE_KIND(body, CK_ACTIVATION_SIGMOID)                                                                \
        ONE_KIND(body, CK_ACTIVATION_TANH)                                                                   \
        ONE_KIND(body, CK_ACTIVATION_HARD_SWISH)                                                             \
        ONE_KIND(body, CK_ACTIVATION_NONE)                                                                   \
    }
#define ONE_KIND(body, kind)                                                                                 \
    case kind:                                                                                               \
        if (a->type == CK_BFLOAT16) body(a, begin, end, kind, CK_BFLOAT16);                                  \
        else body(a, begin, end, kind, CK_FLOAT32);                                                          \
        break;

CK_INLINE void forward(
    const ck_activation_arguments *a, size_t begin, size_t end, const ck_activation kind,
    const ck_element type) {
    const void *input = a->input;
    void *output = a->output;
    const float slope = a->slope;
    CK_INDEPENDENT
    for (size_t i = begin; i < end; i++)
        ck_store(output, i, ck_activate_stored(ck_load(input, i, type), kind, slope, type), type);
}

CK_INLINE void forward_with_derivative(
    const ck_activation_arguments *a, size_t begin, size_t end, const ck_activation kind,
    const ck_element type) {
    const void *input = a->input;
    void *output = a->output, *derivative = a->derivative;
    const float slope = a->slope;
    CK_INDEPENDENT
    for (size_t i = begin; i < end; i++) {
        const float x = ck_load(input, i, type);
        ck_store(output, i, ck_activate_stored(x, kind, slope, type), type);
        ck_store(derivative, i, ck_activation_gradient_stored(x, 1, kind, slope, type), type);
    }
}

CK_INLINE void backward(
    const ck_activation_backward_arguments *a, size_t begin, size_t end, const ck_activation kind,
    const ck_element type) {
    const void *saved = a->saved, *gradient_out = a->gradient_out;
    void *gradient_in = a->gradient_in;
    const float slope = a->slope;
    CK_INDEPENDENT
    for (size_t i = begin; i < end; i++) {
        const float gradient = ck_load(gradient_out, i, type), x = ck_load(saved, i, type);
        ck_store(gradient_in, i, ck_activation_gradient_stored(x, gradient, kind, slope, type), type);
    }
}

CK_CLONES
static void forward_range(const void *pointer, size_t begin, size_t end) {
    const ck_activation_arguments *a = pointer;
    EACH_KIND(forward)
}

/// Both take a share of the input that costs most of either.
CK_CLONES
static void derivative_range(const void *pointer, size_t begin, size_t end) {
    const ck_activation_arguments *a = pointer;
    switch (a->kind) {
        ONE_KIND(forward_with_derivative, CK_ACTIVATION_GELU_ERF)
        ONE_KIND(forward_with_derivative, CK_ACTIVATION_GELU_TANH)
        ONE_KIND(forward_with_derivative, CK_ACTIVATION_SILU)
    }
}

CK_CLONES
static void backward_range(const void *pointer, size_t begin, size_t end) {
    const ck_activation_backward_arguments *a = pointer;
    EACH_KIND(backward)
}

/// How an element's cost compares with a ReLU's: an exponential is about twenty operations.
static size_t weight(ck_activation kind) {
    return kind >= CK_ACTIVATION_GELU_ERF && kind <= CK_ACTIVATION_TANH ? 4 : 1;
}

void ck_activation_forward(const ck_activation_arguments *arguments) {
    ck_for_range(
        arguments->derivative ? derivative_range : forward_range, arguments, arguments->count,
        weight(arguments->kind));
}

void ck_activation_backward(const ck_activation_backward_arguments *arguments) {
    ck_for_range(backward_range, arguments, arguments->count, weight(arguments->kind));
}

void ck_activate_some(const ck_activation_arguments *arguments, size_t begin, size_t end) {
    forward_range(arguments, begin, end);
}

void ck_differentiate_inputs(const ck_activation_backward_arguments *arguments, void *inputs, size_t count) {
    ck_activation_backward_arguments a = *arguments;
    a.saved = inputs;
    // The others that save their output have the same derivative at their input.
    if (a.kind == CK_ACTIVATION_SIGMOID || a.kind == CK_ACTIVATION_TANH) {
        const ck_activation_arguments ahead = {
            .input = inputs, .output = inputs, .kind = a.kind, .type = a.type, .slope = a.slope};
        forward_range(&ahead, 0, count);
    }
    backward_range(&a, 0, count);
}
