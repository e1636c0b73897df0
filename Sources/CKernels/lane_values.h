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

// Which lanes of two vectors, of which the second's begin at 16, go to the one and to the other of the two that
// take their places when blocks of 8, 4, 2 or 1 lanes are exchanged.
#define CK_LOW_8 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define CK_HIGH_8 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#define CK_LOW_4 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define CK_HIGH_4 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define CK_LOW_2 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define CK_HIGH_2 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define CK_LOW_1 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30
#define CK_HIGH_1 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31

/// Transposes 16 x 16 floats: exchanges the off-diagonal blocks of 8 x 8, then those of 4, 2 and 1 in each.
CK_INLINE void ck_transpose_lanes(ck_lanes row[CK_LANES]) {
#define CK_SWAP(step)                                                                                        \
    _Pragma("clang loop unroll(full)") for (int i = 0; i < CK_LANES; i++) {                                  \
        if (i & step) continue;                                                                              \
        const ck_lanes above = row[i], below = row[i + step];                                                \
        row[i] = __builtin_shufflevector(above, below, CK_LOW_##step);                                       \
        row[i + step] = __builtin_shufflevector(above, below, CK_HIGH_##step);                               \
    }
    CK_SWAP(8)
    CK_SWAP(4)
    CK_SWAP(2)
    CK_SWAP(1)
#undef CK_SWAP
}

/// Combines what an exchange of lanes brings together, so that each step halves the rows.
#define CK_FOLD(step, combine)                                                                               \
    _Pragma("clang loop unroll(full)") for (int i = 0; i < step; i++) {                                      \
        const ck_lanes low = __builtin_shufflevector(row[i], row[i + step], CK_LOW_##step);                  \
        const ck_lanes high = __builtin_shufflevector(row[i], row[i + step], CK_HIGH_##step);                \
        row[i] = combine;                                                                                    \
    }

/// Lane i becomes the sum of row i, always in the same order. Cheaper than sixteen sums of lanes.
CK_INLINE ck_lanes ck_sum_rows(ck_lanes row[CK_LANES]) {
    CK_FOLD(8, low + high)
    CK_FOLD(4, low + high)
    CK_FOLD(2, low + high)
    CK_FOLD(1, low + high)
    return row[0];
}

/// Lane i becomes the largest element of row i; NaN does not count.
CK_INLINE ck_lanes ck_max_rows(ck_lanes row[CK_LANES]) {
    CK_FOLD(8, low > high ? low : high)
    CK_FOLD(4, low > high ? low : high)
    CK_FOLD(2, low > high ? low : high)
    CK_FOLD(1, low > high ? low : high)
    return row[0];
}
#undef CK_FOLD
