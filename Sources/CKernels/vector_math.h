#pragma once
#include "lane_values.h"

// Elementary functions in float32: no branch, no table, no call, so that a loop around them vectorises on
// every instruction set. NaN gives NaN. Errors are against the exact value, over all floats. `_values` stands
// for sixteen lanes.

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
/// Cody-Waite reduction to |r| <= ln 2 / 2 and the polynomial of Cephes' expf. The comparisons are written so
/// that NaN, for which they are false, passes through. Adding 1.5 * 2^23 rounds to an integer n and leaves it
/// in the low bits; the power is 2^(n - 1), so that n = 128 has a float, and n = -126 becomes 0.
#define CK_DEFINE_EXP(name, number, word)                                                                    \
    CK_INLINE number name(number x) {                                                                        \
        x = x < (number)-87.0f ? (number)-87.0f : x;                                                         \
        x = x > (number)89.0f ? (number)89.0f : x;                                                           \
        const number shifted = x * (number)1.44269504f + (number)12582912.0f;                                \
        const number n = shifted - (number)12582912.0f;                                                      \
        number r = x - n * (number)0.693359375f;                                                             \
        r = r - n * (number)-2.12194440e-4f;                                                                 \
        number p = (number)1.9875691500e-4f;                                                                 \
        p = p * r + (number)1.3981999507e-3f;                                                                \
        p = p * r + (number)8.3334519073e-3f;                                                                \
        p = p * r + (number)4.1665795894e-2f;                                                                \
        p = p * r + (number)1.6666665459e-1f;                                                                \
        p = p * r + (number)5.0000001201e-1f;                                                                \
        p = p * (r * r) + r;                                                                                 \
        p = p + (number)1.0f;                                                                                \
        const word power = (__builtin_bit_cast(word, shifted) << 23) + (126u << 23);                         \
        return (p + p) * __builtin_bit_cast(number, power);                                                  \
    }
CK_DEFINE_EXP(ck_exp, float, uint32_t)
CK_DEFINE_EXP(ck_exp_values, ck_lanes, ck_bit_lanes)

/// log x to 2 ulp for positive finite x; meaningless for any other number.
///
/// x = m * 2^e with m in [sqrt(1/2), sqrt(2)), and the polynomial of Cephes' logf.
CK_INLINE ck_lanes ck_log_values(ck_lanes x) {
    // Subnormal numbers have no implicit leading 1: bring them into the normal range.
    const ck_int_lanes isSmall = x < 0x1p-126f;
    const ck_int_lanes bits = __builtin_bit_cast(ck_int_lanes, isSmall ? x * 0x1p23f : x);
    // Relative to sqrt(1/2), so that the exponent's bits count from there.
    const ck_int_lanes shifted = bits - 0x3f3504f3;
    const ck_int_lanes power = (shifted >> 23) - (isSmall & 23);
    const ck_lanes e = __builtin_convertvector(power, ck_lanes);
    const ck_lanes m = __builtin_bit_cast(ck_lanes, (shifted & 0x7fffff) + 0x3f3504f3) - 1.0f;
    const ck_lanes square = m * m;
    ck_lanes p = 7.0376836292e-2f;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    p = p * m * square + e * -2.12194440e-4f - 0.5f * square;
    return x == x ? m + p + e * 0.693359375f : x;
}

/// log(1 + x) for 0 <= x <= 1 to 3 ulp; meaningless for any other number.
CK_INLINE ck_lanes ck_log1p_values(ck_lanes x) {
    const ck_lanes whole = x + 1.0f;
    // What rounding 1 + x lost, to first order.
    const ck_lanes lost = (x - (whole - 1.0f)) / whole;
    return ck_log_values(whole) + lost;
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

/// e^(-x^2 / 2) to 2^-17 of itself, 0 where that is below 2^-126. For results that are stored as bfloat16.
CK_INLINE float ck_bell_short(float x) {
    const float square = x * x * -0.72134752f;
    // Written so that NaN, for which the comparison is false, passes through.
    const float power = square < -126.0f ? -126.0f : square;
    const float shifted = power + 12582912.0f;
    const float r = power - (shifted - 12582912.0f);
    float p = 9.570101433e-3f;
    p = p * r + 5.591786028e-2f;
    p = p * r + 2.402474484e-1f;
    p = p * r + 6.931218147e-1f;
    p = p * r + 9.999992614e-1f;
    return (p + p) * ck_from_bits((ck_to_bits(shifted) << 23) + (126u << 23));
}

/// P(normal variate < x) to 2^-11 of itself for x >= -6, below, where it is under 2^-29, to half of itself;
/// from `bell` = e^(-x^2 / 2). For results that are stored as bfloat16.
///
/// P(variate < -a) = e^(-a^2 / 2) R(a), with the degree-8 minimax fit of R on [0, 6].
CK_INLINE float ck_normal_share_short(float x, float bell) {
    const float magnitude = ck_abs(x), a = magnitude > 6.0f ? 6.0f : magnitude;
    float p = 2.672734903e-6f;
    p = p * a - 7.911287022e-5f;
    p = p * a + 1.008693916e-3f;
    p = p * a - 7.307060979e-3f;
    p = p * a + 3.360059866e-2f;
    p = p * a - 1.048302827e-1f;
    p = p * a + 2.347224740e-1f;
    p = p * a - 3.954404921e-1f;
    p = p * a + 4.998524671e-1f;
    const float tail = p * bell;
    return x < 0 ? tail : 1 - tail;
}
