#include "depthwise.h"

/// `tile` pixels of one output row and sixteen channels: every input vector is loaded once for up to three
/// taps.
CK_INLINE void forward_tile(
    const ck_depthwise_arguments *a, size_t n, size_t oy, size_t ox, size_t c, const size_t stride,
    const int tile, const int left, const int right, const int clamps, const ck_element type) {
    const ck_depthwise_shape *s = &a->shape;
    const int columns = (tile - 1) * (int)stride + 3;
    ck_lanes sums[8];
    ck_lanes start = {0};
    if (a->bias) ck_get_lanes(&start, a->bias, c, CK_FLOAT32);
    for (int t = 0; t < tile; t++) sums[t] = start;
    for (int ky = 0; ky < 3; ky++) {
        size_t y = oy * stride + (size_t)ky - 1;
        if (y >= s->height) continue;
        ck_lanes taps[3];
        ck_get_taps(taps, a->weights, (size_t)ky, s->channels, c);
        // One column left of the image where `left` is set; that one is not read.
        size_t at = ((n * s->height + y) * s->width + ox * stride - 1) * s->channels + c;
        CK_UNROLL for (int j = 0; j < columns; j++) {
            if ((left && j == 0) || (right && j == columns - 1)) continue;
            ck_lanes value;
            ck_get_lanes(&value, a->input, at + (size_t)j * s->channels, type);
            CK_UNROLL for (int t = 0; t < tile; t++) {
                const int k = j - t * (int)stride;
                if (k >= 0 && k < 3) sums[t] += value * taps[k];
            }
        }
    }
    size_t to = ((n * s->out_height + oy) * s->out_width + ox) * s->channels + c;
    for (int t = 0; t < tile; t++) {
        if (clamps) ck_clamp_lanes(&sums[t], a->low, a->high);
        ck_put_lanes(a->output, to + (size_t)t * s->channels, &sums[t], type);
    }
}

/// One unit is one output row.
CK_INLINE void forward_rows(
    const ck_depthwise_arguments *a, size_t begin, size_t end, const size_t stride, const int clamps,
    const ck_element type) {
    const ck_depthwise_shape *s = &a->shape;
    for (size_t unit = begin; unit < end; unit++) {
        size_t n = unit / s->out_height, oy = unit % s->out_height;
        for (size_t block = 0; block < s->channels; block += CK_LANES) {
            // The last block begins early enough to be whole; what it shares it computes again.
            size_t c = block + CK_LANES <= s->channels ? block : s->channels - CK_LANES;
#define FORWARD(tile, left, right) forward_tile(a, n, oy, ox, c, stride, tile, left, right, clamps, type)
            CK_TILES(s->out_width, stride, s->width, FORWARD)
#undef FORWARD
        }
    }
}

CK_INLINE void forward_typed(
    const ck_depthwise_arguments *a, size_t begin, size_t end, const ck_element type) {
    const int clamps = a->low > -INFINITY || a->high < INFINITY;
    if (a->shape.stride == 1) {
        if (clamps) forward_rows(a, begin, end, 1, 1, type);
        else forward_rows(a, begin, end, 1, 0, type);
    } else {
        if (clamps) forward_rows(a, begin, end, 2, 1, type);
        else forward_rows(a, begin, end, 2, 0, type);
    }
}

CK_CLONES
static void forward_range(const void *pointer, size_t begin, size_t end) {
    const ck_depthwise_arguments *a = pointer;
    if (a->shape.element == CK_BFLOAT16) forward_typed(a, begin, end, CK_BFLOAT16);
    else forward_typed(a, begin, end, CK_FLOAT32);
}

void ck_depthwise(const ck_depthwise_arguments *a) {
    const ck_depthwise_shape *s = &a->shape;
    ck_for_range(forward_range, a, s->batch * s->out_height, s->out_width * s->channels * 9);
}
