// Lanes under masks of one byte each: 1 for what stays, 0 for what does not.
#pragma once
#include "lane_values.h"

typedef uint8_t ck_byte_lanes __attribute__((ext_vector_type(CK_LANES)));

/// The first `count` (at most 16) lanes where the mask is not 0, the others 0.
CK_INLINE ck_lanes ck_keep_masked(ck_lanes value, const uint8_t *mask, size_t count) {
    ck_byte_lanes bytes = 0;
    if (count >= CK_LANES) __builtin_memcpy(&bytes, mask, sizeof bytes);
    else for (size_t i = 0; i < count; i++) bytes[i] = mask[i];
    return __builtin_convertvector(bytes, ck_int_lanes) != 0 ? value : ck_splat(0);
}
