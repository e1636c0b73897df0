// Sixteen floats at a time: reductions whose order does not depend on the instruction set, and the elementary
// functions that the losses need. Lanes go by pointer, because passing a wide vector by value would make the
// calling convention depend on the instruction set; everything is inlined.
#pragma once
#include "internal.h"
#include <math.h>

enum { CK_LANES = 16 };

typedef float ck_lanes __attribute__((ext_vector_type(CK_LANES)));
typedef double ck_wide_lanes __attribute__((ext_vector_type(CK_LANES)));
typedef int32_t ck_int_lanes __attribute__((ext_vector_type(CK_LANES)));
typedef uint32_t ck_bit_lanes __attribute__((ext_vector_type(CK_LANES)));
typedef uint16_t ck_half_lanes __attribute__((ext_vector_type(CK_LANES)));

/// Loads `count` of at most sixteen elements; `fill` stands in for the rest.
CK_INLINE void ck_load_lanes(
    ck_lanes *lanes, const void *elements, size_t index, size_t count, float fill, const ck_element type) {
    if (count >= CK_LANES && type == CK_BFLOAT16) {
        ck_half_lanes bits;
        __builtin_memcpy(&bits, (const uint16_t *)elements + index, sizeof bits);
        ck_bit_lanes wide = __builtin_convertvector(bits, ck_bit_lanes) << 16;
        *lanes = __builtin_bit_cast(ck_lanes, wide);
    } else if (count >= CK_LANES) {
        __builtin_memcpy(lanes, (const float *)elements + index, sizeof *lanes);
    } else {
        ck_lanes some = fill;
        for (size_t i = 0; i < count; i++) some[i] = ck_load(elements, index + i, type);
        *lanes = some;
    }
}

/// Stores the first `count` lanes, rounded to nearest even where they are stored as bfloat16.
CK_INLINE void ck_store_lanes(
    void *elements, size_t index, size_t count, const ck_lanes *lanes, const ck_element type) {
    if (count >= CK_LANES && type == CK_BFLOAT16) {
        ck_bit_lanes bits = __builtin_bit_cast(ck_bit_lanes, *lanes);
        ck_bit_lanes rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
        rounded = *lanes == *lanes ? rounded : (bits >> 16) | 0x40;
        ck_half_lanes half = __builtin_convertvector(rounded, ck_half_lanes);
        __builtin_memcpy((uint16_t *)elements + index, &half, sizeof half);
    } else if (count >= CK_LANES) {
        __builtin_memcpy((float *)elements + index, lanes, sizeof *lanes);
    } else {
        for (size_t i = 0; i < count; i++) ck_store(elements, index + i, (*lanes)[i], type);
    }
}

/// Clears the lanes from `count` on.
CK_INLINE void ck_clear_lanes(ck_lanes *lanes, size_t count) {
    const ck_int_lanes places = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    if (count < CK_LANES) *lanes = places < (int32_t)count ? *lanes : (ck_lanes)0.0f;
}

/// x = e^x for x <= 0 to 2 ulp, at least e^-87; NaN for any other x.
///
/// Cody-Waite reduction to |r| <= log(2) / 2 and the degree-5 polynomial of Cephes' expf.
CK_INLINE void ck_exp_nonpositive_lanes(ck_lanes *lanes) {
    const ck_lanes x = *lanes < -87.0f ? (ck_lanes)-87.0f : *lanes;
    // Adding 1.5 * 2^23 rounds to the nearest integer, which is then the sum's low bits.
    const ck_lanes sum = x * 1.44269504f + 0x1.8p23f;
    const ck_lanes n = sum - 0x1.8p23f;
    ck_lanes r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    ck_lanes p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const ck_bit_lanes power = (__builtin_bit_cast(ck_bit_lanes, sum) - 0x4b400000u + 127u) << 23;
    const ck_lanes result = p * __builtin_bit_cast(ck_lanes, power);
    // Without this a NaN or +inf would come out as some number.
    *lanes = *lanes <= 0.0f ? result : (ck_lanes)NAN;
}

/// x = log x for positive finite x to 2 ulp; meaningless for any other x.
///
/// x = m * 2^e with m in [sqrt(1/2), sqrt(2)), and the polynomial of Cephes' logf.
CK_INLINE void ck_log_lanes(ck_lanes *lanes) {
    // Subnormal numbers have no implicit leading 1: bring them into the normal range.
    const ck_int_lanes isSmall = *lanes < 0x1p-126f;
    const ck_lanes x = isSmall ? *lanes * 0x1p23f : *lanes;
    const ck_int_lanes bits = __builtin_bit_cast(ck_int_lanes, x);
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
    *lanes = m + p + e * 0.693359375f;
}

/// x = log(1 + x) for 0 <= x <= 1 to 3 ulp; NaN stays NaN.
CK_INLINE void ck_log1p_lanes(ck_lanes *lanes) {
    const ck_lanes x = *lanes, whole = x + 1.0f;
    // What rounding 1 + x lost, to first order.
    const ck_lanes lost = (x - (whole - 1.0f)) / whole;
    ck_lanes logarithm = whole;
    ck_log_lanes(&logarithm);
    *lanes = x == x ? logarithm + lost : x;
}

/// Sums the lanes pairwise.
CK_INLINE float ck_sum_lanes(const ck_lanes *lanes) {
    const ck_lanes a = *lanes;
    float eight[8], four[4];
    for (int i = 0; i < 8; i++) eight[i] = a[i] + a[i + 8];
    for (int i = 0; i < 4; i++) four[i] = eight[i] + eight[i + 4];
    return (four[0] + four[2]) + (four[1] + four[3]);
}
