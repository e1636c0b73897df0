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
