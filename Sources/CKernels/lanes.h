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

/// Sums the lanes pairwise.
CK_INLINE float ck_sum_lanes(const ck_lanes *lanes) {
    const ck_lanes a = *lanes;
    float eight[8], four[4];
    for (int i = 0; i < 8; i++) eight[i] = a[i] + a[i + 8];
    for (int i = 0; i < 4; i++) four[i] = eight[i] + eight[i + 4];
    return (four[0] + four[2]) + (four[1] + four[3]);
}
