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

/// The three rows of the input that a row of outputs reads, sixteen channels of them.
typedef struct {
    const void *elements;
    /// The index of each row's first element; CK_OUTSIDE for a row outside the image.
    size_t begin[3];
    /// From pixel to pixel.
    size_t step;
} ck_source;

#define CK_OUTSIDE SIZE_MAX

/// The rows around output row `oy` of image `n` where they lie.
CK_INLINE ck_source ck_rows_in_place(
    const ck_depthwise_shape *s, const void *input, size_t n, size_t oy, size_t c, const size_t stride) {
    ck_source source = {.elements = input, .step = s->channels};
    for (size_t ky = 0; ky < 3; ky++) {
        const size_t y = oy * stride + ky - 1;
        const int outside = y >= s->height;
        source.begin[ky] = outside ? CK_OUTSIDE : (n * s->height + y) * s->width * s->channels + c;
    }
    return source;
}

/// Normalised rows of one image: row y in row y % 3 of [3, width + 2, channels] floats, of which the columns
/// at both ends are 0. Rows are made whole, so that memory is read in order.
typedef struct {
    float *rows;
    /// The first row of the image that has not been normalised.
    size_t ready;
} ck_window;

CK_INLINE void ck_clear_window(const ck_depthwise_shape *s, float *rows) {
    const size_t length = (s->width + 2) * s->channels;
    for (size_t row = 0; row < 3; row++)
        for (size_t c = 0; c < s->channels; c++)
            rows[row * length + c] = rows[(row + 1) * length - s->channels + c] = 0;
}

/// A window that begins with what output row `oy` reads.
CK_INLINE ck_window ck_open_window(float *rows, size_t oy, const size_t stride) {
    const ck_window window = {.rows = rows, .ready = oy == 0 ? 0 : oy * stride - 1};
    return window;
}

/// `count` pixels of sixteen channels.
CK_INLINE void ck_normalize_pixels(
    const ck_depthwise_shape *s, const ck_depthwise_norm *norm, const void *input, size_t from, float *row,
    size_t c, const int count, const ck_element type) {
    ck_lanes mean, factor, offset;
    ck_get_lanes(&mean, norm->coefficients, c, CK_FLOAT32);
    ck_get_lanes(&factor, norm->coefficients, s->channels + c, CK_FLOAT32);
    ck_get_lanes(&offset, norm->coefficients, 2 * s->channels + c, CK_FLOAT32);
    CK_UNROLL for (int pixel = 0; pixel < count; pixel++) {
        const size_t at = (size_t)pixel * s->channels + c;
        ck_lanes value;
        ck_get_lanes(&value, input, from + at, type);
        // ck_normalized's expression: what the backward pass of the normalisation computes again.
        value = (value - mean) * factor + offset;
        ck_clamp_lanes(&value, norm->low, norm->high);
        ck_put_lanes(row, at, &value, CK_FLOAT32);
    }
}

CK_INLINE void ck_normalize_row(
    const ck_depthwise_shape *s, const ck_depthwise_norm *norm, const void *input, size_t from, float *row,
    const ck_element type) {
    const size_t channels = s->channels;
    size_t x = 0;
    for (; x + 4 <= s->width; x += 4)
        for (size_t block = 0; block < channels; block += CK_LANES) {
            // The last block begins early enough to be whole; what it shares it computes again.
            const size_t c = block + CK_LANES <= channels ? block : channels - CK_LANES;
            ck_normalize_pixels(s, norm, input, from + x * channels, row + x * channels, c, 4, type);
        }
    for (; x < s->width; x++)
        for (size_t block = 0; block < channels; block += CK_LANES) {
            const size_t c = block + CK_LANES <= channels ? block : channels - CK_LANES;
            ck_normalize_pixels(s, norm, input, from + x * channels, row + x * channels, c, 1, type);
        }
}

/// Normalises what output row `oy` of image `n` reads and no row before it has.
CK_INLINE void ck_slide_window(
    ck_window *window, const ck_depthwise_shape *s, const ck_depthwise_norm *norm, const void *input,
    size_t n, size_t oy, const size_t stride, const ck_element type) {
    const size_t length = (s->width + 2) * s->channels, last = oy * stride + 2;
    const size_t stop = last < s->height ? last : s->height;
    for (; window->ready < stop; window->ready++) {
        const size_t from = (n * s->height + window->ready) * s->width * s->channels;
        float *row = window->rows + window->ready % 3 * length + s->channels;
        ck_normalize_row(s, norm, input, from, row, type);
    }
}

/// The rows around output row `oy` in a window that has been moved there.
CK_INLINE ck_source ck_rows_in_window(
    const ck_window *window, const ck_depthwise_shape *s, size_t oy, size_t c, const size_t stride) {
    const size_t length = (s->width + 2) * s->channels;
    ck_source source = {.elements = window->rows, .step = s->channels};
    for (size_t ky = 0; ky < 3; ky++) {
        const size_t y = oy * stride + ky - 1;
        // The first pixel lies behind the column of zeros.
        source.begin[ky] = y >= s->height ? CK_OUTSIDE : y % 3 * length + s->channels + c;
    }
    return source;
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

/// The same where zeros lie around the row.
#define CK_PADDED_TILES(count, body) \
    for (size_t ox = 0; ox < (count);) { \
        size_t rest = (count) - ox; \
        if (rest >= 8) { \
            body(8, 0, 0); \
            ox += 8; \
        } else if (rest >= 4) { \
            body(4, 0, 0); \
            ox += 4; \
        } else if (rest >= 2) { \
            body(2, 0, 0); \
            ox += 2; \
        } else { \
            body(1, 0, 0); \
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
