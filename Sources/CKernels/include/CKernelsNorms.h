// Activations, normalisations and the elementary functions beneath them.
#pragma once

// ---- vector_math.c

typedef int32_t ck_function;
enum { CK_EXP = 0, CK_SIGMOID = 1, CK_TANH = 2, CK_ERF = 3 };

/// output = function(input); may be in place.
typedef struct {
    size_t count;
    const float *input;
    float *output;
    ck_function function;
} ck_vector_math_arguments;
void ck_vector_math(const ck_vector_math_arguments *arguments);

// ---- activation.c

typedef int32_t ck_activation;
enum {
    CK_ACTIVATION_NONE = 0,
    CK_ACTIVATION_RELU = 1,
    CK_ACTIVATION_RELU6 = 2,
    CK_ACTIVATION_LEAKY_RELU = 3,
    CK_ACTIVATION_GELU_ERF = 4,
    CK_ACTIVATION_GELU_TANH = 5,
    CK_ACTIVATION_SILU = 6,
    CK_ACTIVATION_SIGMOID = 7,
    CK_ACTIVATION_TANH = 8,
    CK_ACTIVATION_HARD_SWISH = 9,
};

/// output = kind(input), NaN stays NaN; may be in place.
typedef struct {
    size_t count;
    const void *input;
    void *output;
    ck_activation kind;
    ck_element type;
    /// Of a leaky ReLU.
    float slope;
} ck_activation_arguments;
void ck_activation_forward(const ck_activation_arguments *arguments);

/// gradient_in = kind'(saved) * gradient_out; `gradient_in` may be either of the others.
///
/// `saved` is the output for relu, relu6, sigmoid and tanh, either for leaky_relu of a positive slope, and the
/// input for all others.
typedef struct {
    size_t count;
    const void *saved;
    const void *gradient_out;
    void *gradient_in;
    ck_activation kind;
    ck_element type;
    float slope;
} ck_activation_backward_arguments;
void ck_activation_backward(const ck_activation_backward_arguments *arguments);
