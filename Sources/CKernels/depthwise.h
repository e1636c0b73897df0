#pragma once
#include "lanes.h"

#define CK_UNROLL _Pragma("clang loop unroll(full)")

/// Whole lanes; by pointer for the reason told in lanes.h.
CK_INLINE void ck_get_lanes(ck_lanes *lanes, const void *elements, size_t index, const ck_element type) {
    ck_load_lanes(lanes, elements, index, CK_LANES, 0, type);
}

CK_INLINE void ck_put_lanes(void *elements, size_t index, const ck_lanes *lanes, const ck_element type) {
    ck_store_lanes(elements, index, CK_LANES, lanes, type);
}

/// The three taps of one row of the kernel for sixteen channels; `weights` is [3, 3, channels].
CK_INLINE void ck_get_taps(ck_lanes taps[3], const float *weights, size_t row, size_t channels, size_t c) {
    for (size_t kx = 0; kx < 3; kx++)
        ck_get_lanes(&taps[kx], weights, (row * 3 + kx) * channels + c, CK_FLOAT32);
}

/// Limits values; NaN, for which both comparisons are false, passes through.
CK_INLINE void ck_clamp_lanes(ck_lanes *lanes, float low, float high) {
    *lanes = *lanes < low ? (ck_lanes)low : *lanes;
    *lanes = *lanes > high ? (ck_lanes)high : *lanes;
}

/// Cuts a row of `count` outputs into tiles of 8, 4, 2 and 1 and calls `body(tile, left, right)` at `ox`, all
/// three constants: whether the tile's first input column, or its last, lies outside the `width` columns.
#define CK_TILES(count, stride, width, body) \
    for (size_t ox = 0; ox < (count);) { \
        size_t rest = (count) - ox; \
        int is_left = ox == 0; \
        if (rest >= 8) { \
            CK_EDGES(8, ox, stride, width, body) \
            ox += 8; \
        } else if (rest >= 4) { \
            CK_EDGES(4, ox, stride, width, body) \
            ox += 4; \
        } else if (rest >= 2) { \
            CK_EDGES(2, ox, stride, width, body) \
            ox += 2; \
        } else { \
            CK_EDGES(1, ox, stride, width, body) \
            ox += 1; \
        } \
    }

#define CK_EDGES(tile, ox, stride, width, body) \
    if ((ox + tile - 1) * (stride) + 1 >= (width)) { \
        if (is_left) body(tile, 1, 1); \
        else body(tile, 0, 1); \
    } else { \
        if (is_left) body(tile, 1, 0); \
        else body(tile, 0, 0); \
    }
