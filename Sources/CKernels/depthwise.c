#include "depthwise.h"

size_t ck_depthwise_window_count(const ck_depthwise_shape *shape) {
    const size_t blocks = (shape->channels + CK_LANES - 1) / CK_LANES;
    return 3 * (shape->width + 2) * shape->channels + blocks * 10 * CK_LANES;
}

/// `tile` pixels of one output row and sixteen channels: every input vector is loaded once for up to three
/// taps.
CK_INLINE void forward_tile(
    const ck_depthwise_arguments *a, const ck_source *source, size_t n, size_t oy, size_t ox, size_t c,
    const size_t stride, const int tile, const int left, const int right, const int clamps,
    const ck_element source_type, const ck_element type) {
    const ck_depthwise_shape *s = &a->shape;
    const int columns = (tile - 1) * (int)stride + 3;
    ck_lanes sums[8];
    ck_lanes start = {0};
    if (a->bias) ck_get_lanes(&start, a->bias, c, CK_FLOAT32);
    for (int t = 0; t < tile; t++) sums[t] = start;
    for (int ky = 0; ky < 3; ky++) {
        if (source->begin[ky] == CK_OUTSIDE) continue;
        ck_lanes taps[3];
        ck_get_taps(taps, a->weights, (size_t)ky, s->channels, c);
        // One column left of the image where `left` is set; that one is not read.
        const size_t at = source->begin[ky] + (ox * stride - 1) * source->step;
        CK_UNROLL for (int j = 0; j < columns; j++) {
            if ((left && j == 0) || (right && j == columns - 1)) continue;
            ck_lanes value;
            ck_get_lanes(&value, source->elements, at + (size_t)j * source->step, source_type);
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
            const ck_source source = ck_rows_in_place(s, a->input, n, oy, c, stride);
#define FORWARD(tile, left, right) \
    forward_tile(a, &source, n, oy, ox, c, stride, tile, left, right, clamps, type, type)
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

/// As `forward_rows` over normalised rows, each of which a thread makes once.
CK_INLINE void forward_normalized(
    const ck_depthwise_arguments *a, float *rows, size_t begin, size_t end, const size_t stride,
    const ck_element type) {
    const ck_depthwise_shape *s = &a->shape;
    ck_clear_window(s, rows);
    ck_window window = {0};
    for (size_t unit = begin; unit < end; unit++) {
        size_t n = unit / s->out_height, oy = unit % s->out_height;
        if (unit == begin || oy == 0) window = ck_open_window(rows, oy, stride);
        ck_slide_window(&window, s, &a->norm, a->input, n, oy, stride, type);
        for (size_t block = 0; block < s->channels; block += CK_LANES) {
            size_t c = block + CK_LANES <= s->channels ? block : s->channels - CK_LANES;
            const ck_source source = ck_rows_in_window(&window, s, oy, c, stride);
#define FORWARD(tile, left, right) \
    forward_tile(a, &source, n, oy, ox, c, stride, tile, left, right, 1, CK_FLOAT32, type)
            CK_PADDED_TILES(s->out_width, FORWARD)
#undef FORWARD
        }
    }
}

CK_CLONES
static void forward_normalized_part(
    const ck_depthwise_arguments *a, float *rows, size_t begin, size_t end) {
    if (a->shape.element == CK_BFLOAT16) {
        if (a->shape.stride == 1) forward_normalized(a, rows, begin, end, 1, CK_BFLOAT16);
        else forward_normalized(a, rows, begin, end, 2, CK_BFLOAT16);
    } else {
        if (a->shape.stride == 1) forward_normalized(a, rows, begin, end, 1, CK_FLOAT32);
        else forward_normalized(a, rows, begin, end, 2, CK_FLOAT32);
    }
}

static void forward_normalized_thread(void *pointer, int thread, int threads) {
    const ck_depthwise_arguments *a = pointer;
    const size_t rows = a->shape.batch * a->shape.out_height;
    const size_t begin = rows * (size_t)thread / (size_t)threads;
    const size_t end = rows * ((size_t)thread + 1) / (size_t)threads;
    float *window = a->norm.windows + (size_t)thread * ck_depthwise_window_count(&a->shape);
    forward_normalized_part(a, window, begin, end);
}

void ck_depthwise(const ck_depthwise_arguments *a) {
    const ck_depthwise_shape *s = &a->shape;
    if (a->norm.coefficients) return ck_team_run(forward_normalized_thread, (void *)a);
    ck_for_range(forward_range, a, s->batch * s->out_height, s->out_width * s->channels * 9);
}
