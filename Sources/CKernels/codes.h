// How numbers become codes: what quantises and what imitates it round alike.
#pragma once
#include "internal.h"
#include <math.h>

/// Both bounds are compared so that what is no number takes the lower one.
CK_INLINE float ck_clamped(float number, float low, float high) {
    const float above = number > low ? number : low;
    return above < high ? above : high;
}

/// Two statements: one would be a fused multiply-add where there is one, and round differently.
CK_INLINE float ck_steps(float number, float inverse, float zero) {
    const float steps = number * inverse;
    const float code = steps + zero;
    return code;
}

enum { CK_SIZE_LANES = 16 };

/// The largest absolute value; what is no number is left out.
CK_INLINE float ck_largest_size(const float *weights, size_t count) {
    float lanes[CK_SIZE_LANES] = {0}, largest = 0;
    size_t i = 0;
    for (; i + CK_SIZE_LANES <= count; i += CK_SIZE_LANES) {
        CK_INDEPENDENT
        for (size_t lane = 0; lane < CK_SIZE_LANES; lane++) {
            const float size = fabsf(weights[i + lane]);
            lanes[lane] = size > lanes[lane] ? size : lanes[lane];
        }
    }
    for (; i < count; i++) largest = fabsf(weights[i]) > largest ? fabsf(weights[i]) : largest;
    for (size_t lane = 0; lane < CK_SIZE_LANES; lane++) largest = lanes[lane] > largest ? lanes[lane] : largest;
    return largest;
}
