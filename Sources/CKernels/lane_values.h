// Lanes by value, for kernels whose loops are vectors throughout: small products, attention, channels.
#pragma once
#include "lanes.h"

// Everything here is inlined, so that no vector is ever passed as an argument between two instruction sets.
#pragma clang diagnostic ignored "-Wpsabi"

typedef float ck_unaligned_lanes __attribute__((ext_vector_type(CK_LANES), aligned(4)));

CK_INLINE ck_lanes ck_splat(float value) { return (ck_lanes)value; }

CK_INLINE size_t ck_round_up(size_t count, size_t multiple) {
    return (count + multiple - 1) / multiple * multiple;
}

CK_INLINE ck_lanes ck_read(const void *elements, size_t index, const ck_element type) {
    ck_lanes value;
    ck_load_lanes(&value, elements, index, CK_LANES, 0, type);
    return value;
}

/// The first `count` (at most 16) elements, the other lanes 0.
CK_INLINE ck_lanes ck_read_some(const void *elements, size_t index, size_t count, const ck_element type) {
    ck_lanes value;
    ck_load_lanes(&value, elements, index, count, 0, type);
    return value;
}

CK_INLINE void ck_write(void *elements, size_t index, ck_lanes value, const ck_element type) {
    ck_store_lanes(elements, index, CK_LANES, &value, type);
}

CK_INLINE void ck_write_some(void *elements, size_t index, size_t count, ck_lanes value,
    const ck_element type) {
    ck_store_lanes(elements, index, count, &value, type);
}

/// Lane i where i < count, elsewhere `other`.
CK_INLINE ck_lanes ck_keep_first(ck_lanes value, int32_t count, ck_lanes other) {
    const ck_int_lanes lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return lane < (ck_int_lanes)count ? value : other;
}

CK_INLINE float ck_sum_values(ck_lanes value) { return ck_sum_lanes(&value); }

/// As `ck_log_lanes`; NaN stays NaN.
CK_INLINE ck_lanes ck_log_values(ck_lanes x) {
    ck_lanes logarithm = x;
    ck_log_lanes(&logarithm);
    return x == x ? logarithm : x;
}

/// As `ck_exp`, lane by lane and bit by bit.
CK_INLINE ck_lanes ck_exp_values(ck_lanes x) {
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
    const ck_lanes power = (ck_lanes)(((ck_bit_lanes)shifted << 23) + (126u << 23));
    return (p + p) * power;
}

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

/// Lane i becomes the sum of row i, always in the same order. Cheaper than sixteen sums of lanes.
CK_INLINE ck_lanes ck_sum_rows(ck_lanes row[CK_LANES]) {
    ck_transpose_lanes(row);
#pragma clang loop unroll(full)
    for (int half = CK_LANES / 2; half > 0; half /= 2)
#pragma clang loop unroll(full)
        for (int i = 0; i < half; i++) row[i] += row[i + half];
    return row[0];
}

/// Lane i becomes the largest element of row i; NaN does not count.
CK_INLINE ck_lanes ck_max_rows(ck_lanes row[CK_LANES]) {
    ck_transpose_lanes(row);
#pragma clang loop unroll(full)
    for (int half = CK_LANES / 2; half > 0; half /= 2)
#pragma clang loop unroll(full)
        for (int i = 0; i < half; i++) row[i] = row[i] > row[i + half] ? row[i] : row[i + half];
    return row[0];
}
