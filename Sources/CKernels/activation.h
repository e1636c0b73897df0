#pragma once
#include "vector_math.h"

/// Some elements of `ck_activation_forward` on the calling thread, for kernels whose results lie in the
/// nearest cache when they activate them.
void ck_activate_some(const ck_activation_arguments *arguments, size_t begin, size_t end);

/// The gradients of `count` inputs of an activation that lie in `inputs`, whatever else the backward pass
/// would read; what is in `inputs` is lost. `saved` of the arguments does not count.
void ck_differentiate_inputs(const ck_activation_backward_arguments *arguments, void *inputs, size_t count);

/// x times a probability: the sigmoid of u = 2 sqrt(2 / pi) (x + 0.044715 x^3), that is (1 + tanh(u / 2)) /
/// 2.
CK_INLINE float ck_gelu_tanh_share(float x) { return ck_sigmoid(x * (x * x * 0.07135481f + 1.59576912f)); }

/// P(normal variate < x).
CK_INLINE float ck_normal_share(float x) { return ck_erf(x * 0.70710678f) * 0.5f + 0.5f; }

/// The activation of one element; written so that NaN, for which all comparisons are false, passes through.
CK_INLINE float ck_activate(float x, const ck_activation kind, float slope) {
    switch (kind) {
    case CK_ACTIVATION_RELU: return x < 0 ? 0 : x;
    case CK_ACTIVATION_RELU6: return x < 0 ? 0 : x > 6 ? 6 : x;
    case CK_ACTIVATION_LEAKY_RELU: return x > 0 ? x : x * slope;
    case CK_ACTIVATION_GELU_ERF: return x * ck_normal_share(x);
    case CK_ACTIVATION_GELU_TANH: return x * ck_gelu_tanh_share(x);
    case CK_ACTIVATION_SILU: return x * ck_sigmoid(x);
    case CK_ACTIVATION_SIGMOID: return ck_sigmoid(x);
    case CK_ACTIVATION_TANH: return ck_tanh(x);
    case CK_ACTIVATION_HARD_SWISH: {
        const float share = x * 0.16666667f + 0.5f;
        return x * (share < 0 ? 0 : share > 1 ? 1 : share);
    }
    default: return x;
    }
}

/// The gradient of one element's input from that of its output; `saved` as `ck_activation_backward` says.
CK_INLINE float ck_activation_gradient(float saved, float gradient, const ck_activation kind, float slope) {
    switch (kind) {
    case CK_ACTIVATION_RELU: return saved > 0 ? gradient : 0;
    case CK_ACTIVATION_RELU6: return ((saved > 0) & (saved < 6)) ? gradient : 0;
    case CK_ACTIVATION_LEAKY_RELU: return saved > 0 ? gradient : gradient * slope;
    case CK_ACTIVATION_GELU_ERF: {
        const float density = ck_exp(saved * saved * -0.5f) * 0.39894228f;
        return gradient * (saved * density + ck_normal_share(saved));
    }
    case CK_ACTIVATION_GELU_TANH: {
        const float share = ck_gelu_tanh_share(saved);
        const float rise = saved * saved * 0.21406443f + 1.59576912f;
        return gradient * (saved * rise * (share * (1 - share)) + share);
    }
    case CK_ACTIVATION_SILU: {
        const float share = ck_sigmoid(saved);
        return gradient * (saved * (share * (1 - share)) + share);
    }
    case CK_ACTIVATION_SIGMOID: return gradient * (saved * (1 - saved));
    case CK_ACTIVATION_TANH: return gradient * (1 - saved * saved);
    case CK_ACTIVATION_HARD_SWISH:
        return saved <= -3 ? 0 : saved < 3 ? gradient * (saved * 0.33333333f + 0.5f) : gradient;
    default: return gradient;
    }
}

/// `ck_activate`, as exactly as what is stored needs it.
CK_INLINE float ck_activate_stored(float x, const ck_activation kind, float slope, const ck_element type) {
    if (type != CK_BFLOAT16 || kind != CK_ACTIVATION_GELU_ERF) return ck_activate(x, kind, slope);
    return x * ck_normal_share_short(x, ck_bell_short(x));
}

/// `ck_activation_gradient` likewise.
CK_INLINE float ck_activation_gradient_stored(float saved, float gradient, const ck_activation kind,
                                              float slope, const ck_element type) {
    if (type != CK_BFLOAT16 || kind != CK_ACTIVATION_GELU_ERF)
        return ck_activation_gradient(saved, gradient, kind, slope);
    const float bell = ck_bell_short(saved);
    return gradient * (saved * bell * 0.39894228f + ck_normal_share_short(saved, bell));
}
