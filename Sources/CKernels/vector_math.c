#include "vector_math.h"

CK_INLINE void map(const ck_vector_math_arguments *a, size_t begin, size_t end, const ck_function function) {
    const float *input = a->input;
    float *output = a->output;
    CK_INDEPENDENT
    for (size_t i = begin; i < end; i++) {
        const float x = input[i];
        output[i] = function == CK_EXP       ? ck_exp(x)
                    : function == CK_SIGMOID ? ck_sigmoid(x)
                    : function == CK_TANH    ? ck_tanh(x)
                                             : ck_erf(x);
    }
}

CK_CLONES
static void vector_math_range(const void *pointer, size_t begin, size_t end) {
    const ck_vector_math_arguments *a = pointer;
    switch (a->function) {
    case CK_EXP: return map(a, begin, end, CK_EXP);
    case CK_SIGMOID: return map(a, begin, end, CK_SIGMOID);
    case CK_TANH: return map(a, begin, end, CK_TANH);
    default: return map(a, begin, end, CK_ERF);
    }
}

void ck_vector_math(const ck_vector_math_arguments *arguments) {
    ck_for_range(vector_math_range, arguments, arguments->count, 4);
}
