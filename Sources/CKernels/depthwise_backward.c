#include "depthwise.h"

// ---- The gradient of the input.

/// Stride 1: a convolution of the output's gradient with the kernel turned around.
CK_INLINE void data_tile(
    const ck_depthwise_data_arguments *a, size_t n, size_t y, size_t ox, size_t c, const int tile,
    const int left, const int right, const ck_element type) {
    const ck_depthwise_shape *s = &a->shape;
    ck_lanes sums[8];
    for (int t = 0; t < tile; t++) sums[t] = (ck_lanes){0};
    for (int ky = 0; ky < 3; ky++) {
        size_t oy = y + 1 - (size_t)ky;
        if (oy >= s->out_height) continue;
        ck_lanes taps[3];
        ck_get_taps(taps, a->weights, (size_t)ky, s->channels, c);
        size_t at = ((n * s->out_height + oy) * s->out_width + ox - 1) * s->channels + c;
        CK_UNROLL for (int j = 0; j < tile + 2; j++) {
            if ((left && j == 0) || (right && j == tile + 1)) continue;
            ck_lanes value;
            ck_get_lanes(&value, a->gradient_out, at + (size_t)j * s->channels, type);
            CK_UNROLL for (int t = 0; t < tile; t++)
                if (j - t >= 0 && j - t < 3) sums[t] += value * taps[2 - j + t];
        }
    }
    size_t to = ((n * s->height + y) * s->width + ox) * s->channels + c;
    for (int t = 0; t < tile; t++) ck_put_lanes(a->gradient_in, to + (size_t)t * s->channels, &sums[t], type);
}

/// Stride 2: pixel 2m hears from output m alone, pixel 2m + 1 from outputs m and m + 1; rows alike.
///
/// `right`: output m + 1 of the last pair lies outside. That pair may also lack its second pixel.
CK_INLINE void data_pairs(
    const ck_depthwise_data_arguments *a, size_t n, size_t y, size_t ox, size_t c, const int tile,
    const int right, const ck_element type) {
    const ck_depthwise_shape *s = &a->shape;
    ck_lanes even[8], odd[8];
    for (int t = 0; t < tile; t++) even[t] = odd[t] = (ck_lanes){0};
    for (size_t ky = (y + 1) % 2; ky < 3; ky += 2) {
        size_t oy = (y + 1 - ky) / 2;
        if (y + 1 < ky || oy >= s->out_height) continue;
        ck_lanes taps[3];
        ck_get_taps(taps, a->weights, ky, s->channels, c);
        size_t at = ((n * s->out_height + oy) * s->out_width + ox) * s->channels + c;
        CK_UNROLL for (int j = 0; j < tile + 1; j++) {
            if (right && j == tile) continue;
            ck_lanes value;
            ck_get_lanes(&value, a->gradient_out, at + (size_t)j * s->channels, type);
            if (j < tile) {
                even[j] += value * taps[1];
                odd[j] += value * taps[2];
            }
            if (j > 0) odd[j - 1] += value * taps[0];
        }
    }
    size_t to = ((n * s->height + y) * s->width + 2 * ox) * s->channels + c;
    for (int t = 0; t < tile; t++) {
        ck_put_lanes(a->gradient_in, to + (size_t)(2 * t) * s->channels, &even[t], type);
        if (right && t == tile - 1 && 2 * (ox + (size_t)t) + 1 >= s->width) break;
        ck_put_lanes(a->gradient_in, to + (size_t)(2 * t + 1) * s->channels, &odd[t], type);
    }
}

/// One unit is one row of the input.
CK_INLINE void data_rows(
    const ck_depthwise_data_arguments *a, size_t begin, size_t end, const size_t stride,
    const ck_element type) {
    const ck_depthwise_shape *s = &a->shape;
    for (size_t unit = begin; unit < end; unit++) {
        size_t n = unit / s->height, y = unit % s->height;
        for (size_t block = 0; block < s->channels; block += CK_LANES) {
            size_t c = block + CK_LANES <= s->channels ? block : s->channels - CK_LANES;
            if (stride == 1) {
#define DATA(tile, left, right) data_tile(a, n, y, ox, c, tile, left, right, type)
                CK_TILES(s->width, 1, s->width, DATA)
#undef DATA
            } else {
#define PAIRS(tile, left, right) data_pairs(a, n, y, ox, c, tile, right, type)
                CK_TILES(s->out_width, 1, s->out_width, PAIRS)
#undef PAIRS
            }
        }
    }
}

CK_CLONES
static void data_range(const void *pointer, size_t begin, size_t end) {
    const ck_depthwise_data_arguments *a = pointer;
    if (a->shape.element == CK_BFLOAT16) {
        if (a->shape.stride == 1) data_rows(a, begin, end, 1, CK_BFLOAT16);
        else data_rows(a, begin, end, 2, CK_BFLOAT16);
    } else {
        if (a->shape.stride == 1) data_rows(a, begin, end, 1, CK_FLOAT32);
        else data_rows(a, begin, end, 2, CK_FLOAT32);
    }
}

void ck_depthwise_backward_data(const ck_depthwise_data_arguments *a) {
    ck_for_range(data_range, a, a->shape.batch * a->shape.height, a->shape.width * a->shape.channels * 9);
}

// ---- The gradients of the weights and the bias.

/// Adds `tile` pixels to the sums of the nine taps and, where asked, of the bias.
CK_INLINE void weights_tile(
    const ck_depthwise_weights_arguments *a, const ck_source *source, ck_lanes sums[10], size_t n, size_t oy,
    size_t ox, size_t c, const size_t stride, const int tile, const int left, const int right,
    const ck_element source_type, const ck_element type) {
    const ck_depthwise_shape *s = &a->shape;
    const int columns = (tile - 1) * (int)stride + 3;
    ck_lanes gradients[8];
    size_t from = ((n * s->out_height + oy) * s->out_width + ox) * s->channels + c;
    CK_UNROLL for (int t = 0; t < tile; t++) {
        ck_get_lanes(&gradients[t], a->gradient_out, from + (size_t)t * s->channels, type);
        sums[9] += gradients[t];
    }
    CK_UNROLL for (int ky = 0; ky < 3; ky++) {
        if (source->begin[ky] == CK_OUTSIDE) continue;
        const size_t at = source->begin[ky] + (ox * stride - 1) * source->step;
        CK_UNROLL for (int j = 0; j < columns; j++) {
            if ((left && j == 0) || (right && j == columns - 1)) continue;
            ck_lanes value;
            ck_get_lanes(&value, source->elements, at + (size_t)j * source->step, source_type);
            CK_UNROLL for (int t = 0; t < tile; t++) {
                const int k = j - t * (int)stride;
                if (k >= 0 && k < 3) sums[3 * ky + k] += value * gradients[t];
            }
        }
    }
}

/// Adds sixteen channels' sums from `c` on to a thread's.
CK_INLINE void add_sums(
    const ck_depthwise_shape *s, float *totals, const ck_lanes sums[10], size_t block, size_t c) {
    CK_UNROLL for (int k = 0; k < 10; k++) {
        float *total = totals + (size_t)k * s->channels + c;
        if (c == block) {
            ck_lanes sum;
            ck_get_lanes(&sum, total, 0, CK_FLOAT32);
            sum += sums[k];
            ck_put_lanes(total, 0, &sum, CK_FLOAT32);
        } else {  // A last block that begins early adds its new channels alone.
            for (size_t lane = block - c; lane < CK_LANES; lane++) total[lane] += sums[k][lane];
        }
    }
}

/// Adds the rows begin..<end to a thread's sums; the pixels of one image are summed on their own first, so
/// that no sum has more terms than needed.
CK_INLINE void weights_rows(
    const ck_depthwise_weights_arguments *a, float *totals, size_t begin, size_t end, const size_t stride,
    const ck_element type) {
    const ck_depthwise_shape *s = &a->shape;
    while (begin < end) {
        size_t n = begin / s->out_height, first = begin % s->out_height;
        size_t last = first + (end - begin) < s->out_height ? first + (end - begin) : s->out_height;
        for (size_t block = 0; block < s->channels; block += CK_LANES) {
            size_t c = block + CK_LANES <= s->channels ? block : s->channels - CK_LANES;
            ck_lanes sums[10] = {0};
            for (size_t oy = first; oy < last; oy++) {
                const ck_source source = ck_rows_in_place(s, a->input, n, oy, c, stride);
#define WEIGHTS(tile, left, right) \
    weights_tile(a, &source, sums, n, oy, ox, c, stride, tile, left, right, type, type)
                CK_TILES(s->out_width, stride, s->width, WEIGHTS)
#undef WEIGHTS
            }
            add_sums(s, totals, sums, block, c);
        }
        begin += last - first;
    }
}

/// The same over normalised rows, with all channels of a row before the next: the image's sums lie in
/// `image`, [blocks, 10, 16].
CK_INLINE void weights_normalized(
    const ck_depthwise_weights_arguments *a, float *totals, float *rows, float *image, size_t begin,
    size_t end, const size_t stride, const ck_element type) {
    const ck_depthwise_shape *s = &a->shape;
    const size_t blocks = (s->channels + CK_LANES - 1) / CK_LANES;
    ck_clear_window(s, rows);
    while (begin < end) {
        const size_t n = begin / s->out_height, first = begin % s->out_height;
        const size_t last = first + (end - begin) < s->out_height ? first + (end - begin) : s->out_height;
        ck_window window = ck_open_window(rows, first, stride);
        for (size_t i = 0; i < blocks * 10 * CK_LANES; i++) image[i] = 0;
        for (size_t oy = first; oy < last; oy++) {
            ck_slide_window(&window, s, &a->norm, a->input, n, oy, stride, type);
            for (size_t index = 0; index < blocks; index++) {
                const size_t block = index * CK_LANES;
                const size_t c = block + CK_LANES <= s->channels ? block : s->channels - CK_LANES;
                const ck_source source = ck_rows_in_window(&window, s, oy, c, stride);
                float *held = image + index * 10 * CK_LANES;
                ck_lanes sums[10];
                CK_UNROLL for (size_t k = 0; k < 10; k++)
                    ck_get_lanes(&sums[k], held, k * CK_LANES, CK_FLOAT32);
#define WEIGHTS(tile, left, right) \
    weights_tile(a, &source, sums, n, oy, ox, c, stride, tile, left, right, CK_FLOAT32, type)
                CK_PADDED_TILES(s->out_width, WEIGHTS)
#undef WEIGHTS
                CK_UNROLL for (size_t k = 0; k < 10; k++)
                    ck_put_lanes(held, k * CK_LANES, &sums[k], CK_FLOAT32);
            }
        }
        for (size_t index = 0; index < blocks; index++) {
            const size_t block = index * CK_LANES;
            const size_t c = block + CK_LANES <= s->channels ? block : s->channels - CK_LANES;
            ck_lanes sums[10];
            CK_UNROLL for (size_t k = 0; k < 10; k++)
                ck_get_lanes(&sums[k], image, (index * 10 + k) * CK_LANES, CK_FLOAT32);
            add_sums(s, totals, sums, block, c);
        }
        begin += last - first;
    }
}

CK_CLONES
static void weights_part(const ck_depthwise_weights_arguments *a, float *totals, size_t begin, size_t end) {
    if (a->shape.element == CK_BFLOAT16) {
        if (a->shape.stride == 1) weights_rows(a, totals, begin, end, 1, CK_BFLOAT16);
        else weights_rows(a, totals, begin, end, 2, CK_BFLOAT16);
    } else {
        if (a->shape.stride == 1) weights_rows(a, totals, begin, end, 1, CK_FLOAT32);
        else weights_rows(a, totals, begin, end, 2, CK_FLOAT32);
    }
}

CK_CLONES
static void weights_normalized_part(
    const ck_depthwise_weights_arguments *a, float *totals, float *rows, size_t begin, size_t end) {
    float *image = rows + 3 * (a->shape.width + 2) * a->shape.channels;
    if (a->shape.element == CK_BFLOAT16) {
        if (a->shape.stride == 1) weights_normalized(a, totals, rows, image, begin, end, 1, CK_BFLOAT16);
        else weights_normalized(a, totals, rows, image, begin, end, 2, CK_BFLOAT16);
    } else {
        if (a->shape.stride == 1) weights_normalized(a, totals, rows, image, begin, end, 1, CK_FLOAT32);
        else weights_normalized(a, totals, rows, image, begin, end, 2, CK_FLOAT32);
    }
}

static void weights_thread(void *pointer, int thread, int threads) {
    const ck_depthwise_weights_arguments *a = pointer;
    size_t rows = a->shape.batch * a->shape.out_height, size = 10 * a->shape.channels;
    float *totals = a->scratch + (size_t)thread * size;
    for (size_t i = 0; i < size; i++) totals[i] = 0;
    size_t begin = rows * (size_t)thread / (size_t)threads;
    size_t end = rows * ((size_t)thread + 1) / (size_t)threads;
    float *window = a->norm.windows + (size_t)thread * ck_depthwise_window_count(&a->shape);
    if (a->norm.coefficients) weights_normalized_part(a, totals, window, begin, end);
    else weights_part(a, totals, begin, end);
}

void ck_depthwise_backward_weights(const ck_depthwise_weights_arguments *a) {
    size_t size = 9 * a->shape.channels, stride = 10 * a->shape.channels;
    int threads = ck_team_count();
    ck_team_run(weights_thread, (void *)a);
    for (size_t i = 0; i < size; i++) a->gradient_weights[i] = a->scratch[i];
    for (int thread = 1; thread < threads; thread++)
        for (size_t i = 0; i < size; i++) a->gradient_weights[i] += a->scratch[(size_t)thread * stride + i];
    if (!a->gradient_bias) return;
    for (size_t i = 0; i < a->shape.channels; i++) a->gradient_bias[i] = a->scratch[size + i];
    for (int thread = 1; thread < threads; thread++)
        for (size_t i = 0; i < a->shape.channels; i++)
            a->gradient_bias[i] += a->scratch[(size_t)thread * stride + size + i];
}
