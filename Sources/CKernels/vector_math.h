#pragma once
#include "internal.h"

// Elementary functions in float32 for loops over many elements: no branch, no table, no call, so that a loop
// around them vectorises on every instruction set. NaN gives NaN. Errors are against the exact value, over all
// floats.

CK_INLINE float ck_from_bits(uint32_t bits) {
    union { uint32_t u; float f; } value = {.u = bits};
    return value.f;
}

CK_INLINE uint32_t ck_to_bits(float number) {
    union { float f; uint32_t u; } value = {.f = number};
    return value.u;
}

CK_INLINE float ck_abs(float x) { return ck_from_bits(ck_to_bits(x) & 0x7fffffff); }

CK_INLINE float ck_copy_sign(float magnitude, float sign) {
    return ck_from_bits(ck_to_bits(magnitude) | (ck_to_bits(sign) & 0x80000000));
}

/// e^x to 1.1 ulp; 0 where that is below 2^-125.5 (x < -86.99), infinity where it overflows.
///
/// Cody-Waite reduction to |r| <= ln 2 / 2 and the polynomial of Cephes' expf.
CK_INLINE float ck_exp(float x) {
    // Written so that NaN, for which both comparisons are false, passes through.
    x = x < -87.0f ? -87.0f : x;
    x = x > 89.0f ? 89.0f : x;
    // Adding 1.5 * 2^23 rounds to an integer n and leaves it in the low bits.
    const float shifted = x * 1.44269504f + 12582912.0f;
    const float n = shifted - 12582912.0f;
    float r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r;
    p = p + 1.0f;
    // 2^(n - 1), so that n = 128 has a float; n = -126 becomes 0.
    const float power = ck_from_bits((ck_to_bits(shifted) << 23) + (126u << 23));
    return (p + p) * power;
}

/// 1 / (1 + e^-x) to 2.5 ulp; 0 below x = -88.7.
CK_INLINE float ck_sigmoid(float x) { return 1.0f / (1.0f + ck_exp(-x)); }

/// tanh x to 2 ulp.
///
/// The odd polynomial of Cephes' tanhf below 0.625, 1 - 2 / (e^2|x| + 1) above.
CK_INLINE float ck_tanh(float x) {
    const float z = x * x, magnitude = ck_abs(x);
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z + -5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z + -3.33332819422e-1f;
    const float near = p * (z * x) + x;
    const float far = ck_copy_sign(1.0f - 2.0f / (ck_exp(magnitude + magnitude) + 1.0f), x);
    return magnitude < 0.625f ? near : far;
}

/// erf x to 2 ulp.
///
/// x + x P(x^2) below 0.92, 1 - e^-(|x| + |x| Q(|x|)) above, both minimax fits; 1 from |x| = 4 on.
CK_INLINE float ck_erf(float x) {
    const float z = x * x, magnitude = ck_abs(x);
    float p = -5.953883615e-4f;
    p = p * z + 4.985974621e-3f;
    p = p * z + -2.676174958e-2f;
    p = p * z + 1.128168368e-1f;
    p = p * z + -3.761248128e-1f;
    p = p * z + 1.283791478e-1f;
    const float near = p * x + x;
    const float t = magnitude > 4.0f ? 4.0f : magnitude;
    float q = -2.135329888e-4f;
    q = q * t + 3.211318277e-3f;
    q = q * t + -2.287861231e-2f;
    q = q * t + 1.052446641e-1f;
    q = q * t + 6.357309296e-1f;
    q = q * t + 1.285107616e-1f;
    const float far = ck_copy_sign(1.0f - ck_exp(-(q * t + t)), x);
    return magnitude < 0.92f ? near : far;
}
