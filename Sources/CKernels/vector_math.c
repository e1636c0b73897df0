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

/// Sixteen at a time, for functions that other kernels call so.
CK_INLINE void map_lanes(
    const ck_vector_math_arguments *a, size_t begin, size_t end, const ck_function function) {
    for (size_t i = begin; i < end; i += CK_LANES) {
        const size_t count = end - i < CK_LANES ? end - i : CK_LANES;
        const ck_lanes x = ck_read_some(a->input, i, count, CK_FLOAT32);
        ck_write_some(a->output, i, count,
                      function == CK_LOG     ? ck_log_values(x)
                      : function == CK_LOG1P ? ck_log1p_values(x)
                                             : ck_exp_values(x),
                      CK_FLOAT32);
    }
}

CK_CLONES
static void vector_math_range(const void *pointer, size_t begin, size_t end) {
    const ck_vector_math_arguments *a = pointer;
    switch (a->function) {
    case CK_EXP: return map(a, begin, end, CK_EXP);
    case CK_SIGMOID: return map(a, begin, end, CK_SIGMOID);
    case CK_TANH: return map(a, begin, end, CK_TANH);
    case CK_ERF: return map(a, begin, end, CK_ERF);
    case CK_LOG: return map_lanes(a, begin, end, CK_LOG);
    case CK_LOG1P: return map_lanes(a, begin, end, CK_LOG1P);
    default: return map_lanes(a, begin, end, CK_EXP_LANES);
    }
}

void ck_vector_math(const ck_vector_math_arguments *arguments) {
    ck_for_range(vector_math_range, arguments, arguments->count, 4);
}
