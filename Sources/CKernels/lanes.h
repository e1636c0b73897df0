// Sixteen lanes of float32: one AVX-512 register, two of AVX2, four of SSE. Written out where the compiler's own
// vectoriser stops at 256 bits or would have to reorder a sum.
#pragma once
#include "internal.h"
#include <math.h>

// Everything here is inlined, so that no vector is ever passed as an argument between two instruction sets.
#pragma clang diagnostic ignored "-Wpsabi"

typedef float ck_lanes __attribute__((ext_vector_type(16)));
typedef int32_t ck_integer_lanes __attribute__((ext_vector_type(16)));
typedef float ck_unaligned_lanes __attribute__((ext_vector_type(16), aligned(4)));
typedef uint16_t ck_half_lanes __attribute__((ext_vector_type(16)));
typedef uint16_t ck_unaligned_half_lanes __attribute__((ext_vector_type(16), aligned(2)));
typedef uint32_t ck_word_lanes __attribute__((ext_vector_type(16)));

enum { CK_LANES = 16 };

CK_INLINE ck_lanes ck_splat(float value) { return (ck_lanes)value; }

CK_INLINE size_t ck_round_up(size_t count, size_t multiple) { return (count + multiple - 1) / multiple * multiple; }

CK_INLINE ck_lanes ck_load_lanes(const void *elements, size_t index, const ck_element type) {
    if (type == CK_FLOAT32) return *(const ck_unaligned_lanes *)((const float *)elements + index);
    ck_half_lanes halves = *(const ck_unaligned_half_lanes *)((const uint16_t *)elements + index);
    return (ck_lanes)(__builtin_convertvector(halves, ck_word_lanes) << 16);
}

/// Rounds to nearest, ties to even, as `ck_to_bfloat16`.
CK_INLINE void ck_store_lanes(void *elements, size_t index, ck_lanes value, const ck_element type) {
    if (type == CK_FLOAT32) {
        *(ck_unaligned_lanes *)((float *)elements + index) = value;
        return;
    }
    ck_word_lanes word = (ck_word_lanes)value;
    ck_word_lanes rounded = (word + 0x7fff + ((word >> 16) & 1)) >> 16;
    ck_word_lanes chosen = value != value ? (word >> 16) | 0x40 : rounded;
    *(ck_unaligned_half_lanes *)((uint16_t *)elements + index) = __builtin_convertvector(chosen, ck_half_lanes);
}

/// The first `count` (at most 16) elements, the other lanes 0.
CK_INLINE ck_lanes ck_load_some(const void *elements, size_t index, size_t count, const ck_element type) {
    float values[CK_LANES] = {0};
    for (size_t lane = 0; lane < count; lane++) values[lane] = ck_load(elements, index + lane, type);
    return *(const ck_unaligned_lanes *)values;
}

CK_INLINE void ck_store_some(void *elements, size_t index, size_t count, ck_lanes value, const ck_element type) {
    float values[CK_LANES];
    *(ck_unaligned_lanes *)values = value;
    for (size_t lane = 0; lane < count; lane++) ck_store(elements, index + lane, values[lane], type);
}

/// Lane i where i < count, elsewhere `other`.
CK_INLINE ck_lanes ck_keep_first(ck_lanes value, int32_t count, ck_lanes other) {
    const ck_integer_lanes lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return lane < (ck_integer_lanes)count ? value : other;
}

/// Always in the same order: halves are added until one lane is left.
CK_INLINE float ck_sum_lanes(ck_lanes value) {
    __typeof__(value.lo) eight = value.lo + value.hi;
    __typeof__(eight.lo) four = eight.lo + eight.hi;
    __typeof__(four.lo) two = four.lo + four.hi;
    return two.x + two.y;
}

/// The largest lane; lanes that are NaN do not count.
CK_INLINE float ck_max_lanes(ck_lanes value) { return __builtin_reduce_max(value); }

/// Transposes 16 x 16 floats: swaps the off-diagonal blocks of 8 x 8, then those of 4, 2 and 1 in each block.
CK_INLINE void ck_transpose_lanes(ck_lanes row[CK_LANES]) {
#define CK_SWAP(step, low, high)                                                                          \
    _Pragma("clang loop unroll(full)") for (int i = 0; i < CK_LANES; i++) {                               \
        if (i & step) continue;                                                                           \
        ck_lanes above = row[i], below = row[i + step];                                                   \
        row[i] = __builtin_shufflevector(above, below, CK_ORDER low);                                     \
        row[i + step] = __builtin_shufflevector(above, below, CK_ORDER high);                             \
    }
#define CK_ORDER(...) __VA_ARGS__
    CK_SWAP(8, (0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
            (8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
    CK_SWAP(4, (0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
            (4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31))
    CK_SWAP(2, (0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
            (2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
    CK_SWAP(1, (0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
            (1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
#undef CK_ORDER
#undef CK_SWAP
}

/// As `ck_exp`, lane by lane and bit by bit.
CK_INLINE ck_lanes ck_exp_lanes(ck_lanes x) {
    x = x < ck_splat(-87.0f) ? ck_splat(-87.0f) : x;
    x = x > ck_splat(89.0f) ? ck_splat(89.0f) : x;
    const ck_lanes shifted = x * ck_splat(1.44269504f) + ck_splat(12582912.0f);
    const ck_lanes n = shifted - ck_splat(12582912.0f);
    ck_lanes r = x - n * ck_splat(0.693359375f);
    r = r - n * ck_splat(-2.12194440e-4f);
    ck_lanes p = ck_splat(1.9875691500e-4f);
    p = p * r + ck_splat(1.3981999507e-3f);
    p = p * r + ck_splat(8.3334519073e-3f);
    p = p * r + ck_splat(4.1665795894e-2f);
    p = p * r + ck_splat(1.6666665459e-1f);
    p = p * r + ck_splat(5.0000001201e-1f);
    p = p * (r * r) + r;
    p = p + ck_splat(1.0f);
    const ck_lanes power = (ck_lanes)(((ck_word_lanes)shifted << 23) + (126u << 23));
    return (p + p) * power;
}

/// ln x to 2 ulp for normal x > 0; NaN stays NaN. Cephes' logf: x = 2^e (1 + r) with 1 + r in [sqrt(1/2), sqrt(2)).
CK_INLINE ck_lanes ck_log_lanes(ck_lanes x) {
    ck_integer_lanes bits = (ck_integer_lanes)x;
    ck_integer_lanes exponent = (bits >> 23) - 126;
    ck_lanes m = (ck_lanes)((bits & 0x007fffff) | 0x3f000000);
    ck_integer_lanes small = m < ck_splat(0.707106781f);
    exponent += small;
    ck_lanes r = (small ? m + m : m) - ck_splat(1.0f);
    ck_lanes e = __builtin_convertvector(exponent, ck_lanes), z = r * r;
    ck_lanes p = ck_splat(7.0376836292e-2f);
    p = p * r - ck_splat(1.1514610310e-1f);
    p = p * r + ck_splat(1.1676998740e-1f);
    p = p * r - ck_splat(1.2420140846e-1f);
    p = p * r + ck_splat(1.4249322787e-1f);
    p = p * r - ck_splat(1.6668057665e-1f);
    p = p * r + ck_splat(2.0000714765e-1f);
    p = p * r - ck_splat(2.4999993993e-1f);
    p = p * r + ck_splat(3.3333331174e-1f);
    p = p * r * z + e * ck_splat(-2.12194440e-4f) - z * ck_splat(0.5f);
    ck_lanes result = r + p + e * ck_splat(0.693359375f);
    return x == x ? result : x;
}
