// The weight gradient of convolutions of images of one channel, which have no input channels to fill vectors
// with.
//
// What 16 does not divide of the output's channels is computed for several pixels at once: a group of 4, 8 or
// 16 lanes has a pixel's remaining channels. Such vectors are multiplied by pixels that a copy of the image
// repeats as often as a group has lanes.
#include "lane_values.h"

enum { TAPS_MAX = 25 };

#define ALL _Pragma("clang loop unroll(full)")

typedef struct {
    size_t taps;
    /// Whole vectors of channels, the remaining channels, and the lanes of their group: 0, 4, 8 or 16.
    size_t whole, rest, group;
    /// Extents of an image with its padding.
    size_t rows, columns;
    /// Floats of it, of its copy, of a row's packed gradients, and of a thread's scratch.
    size_t image, repeated, packed, thread;
    /// Floats of all taps' sums: a vector for each whole one, and one for the rest.
    size_t sums;
} layout;

static layout layout_of(const ck_dense_shape *s) {
    layout l;
    l.taps = s->kernel * s->kernel;
    l.whole = s->out_channels / CK_LANES;
    l.rest = s->out_channels % CK_LANES;
    l.group = l.rest == 0 ? 0 : l.rest <= 4 ? 4 : l.rest <= 8 ? 8 : CK_LANES;
    l.rows = s->out_height + s->kernel - 1;
    l.columns = s->out_width + s->kernel - 1;
    l.image = ck_round_up(l.rows * l.columns, CK_LANES);
    l.repeated = ck_round_up((l.rows * l.columns + CK_LANES) * l.group, CK_LANES);
    l.packed = ck_round_up((s->out_width + CK_LANES) * l.group, CK_LANES);
    // The bias is one tap more.
    l.sums = (l.taps + 1) * (l.whole + 1) * CK_LANES;
    l.thread = l.image + l.repeated + l.packed + l.sums;
    return l;
}

size_t ck_single_channel_scratch_count(const ck_dense_shape *shape, size_t threads) {
    return layout_of(shape).thread * threads;
}

/// An image as floats with its padding, and with every pixel repeated `group` times.
CK_INLINE void pad_image(
    const ck_dense_shape *s, const layout *l, const void *input, size_t n, float *image, float *repeated) {
    __builtin_memset(image, 0, l->image * sizeof(float));
    for (size_t y = 0; y < s->height && y + s->padding_height < l->rows; y++) {
        const size_t from = (n * s->height + y) * s->width;
        float *to = image + (y + s->padding_height) * l->columns + s->padding_width;
        const size_t room = l->columns - s->padding_width, wide = s->width < room ? s->width : room;
        if (s->element == CK_BFLOAT16)
            CK_INDEPENDENT for (size_t x = 0; x < wide; x++) to[x] = ck_load(input, from + x, CK_BFLOAT16);
        else
            CK_INDEPENDENT for (size_t x = 0; x < wide; x++) to[x] = ck_load(input, from + x, CK_FLOAT32);
    }
    const size_t count = l->rows * l->columns;
    for (size_t i = 0; i < count; i++)
        for (size_t lane = 0; lane < l->group; lane += 4) {
            const float value = image[i];
            const float four[4] = {value, value, value, value};
            __builtin_memcpy(repeated + i * l->group + lane, four, sizeof four);
        }
    // What the last group of a row reads beyond the image, and multiplies by 0.
    __builtin_memset(repeated + count * l->group, 0, CK_LANES * l->group * sizeof(float));
}

/// Adds an image's sums of one vector of channels to those of all taps, `step` floats apart; the bias's last.
///
/// `group` is 0 for whole vectors, whose gradients lie in place.
CK_INLINE void sum_image(
    const ck_dense_weights_arguments *a, const layout *l, const float *scratch, float *packed,
    size_t n, size_t channel, float *totals, size_t step, const int kernel, const int group) {
    const ck_dense_shape *s = &a->shape;
    const int pixels = group ? CK_LANES / group : 1;
    const size_t width = group ? (size_t)group : 1, line = l->columns * width;
    const float *source = group ? scratch + l->image : scratch;
    ck_lanes sums[TAPS_MAX], bias = ck_splat(0);
    ALL for (int t = 0; t < kernel * kernel; t++) sums[t] = ck_splat(0);
    for (size_t y = 0; y < s->out_height; y++) {
        const size_t row = (n * s->out_height + y) * s->out_width;
        if (group)
            for (size_t x = 0; x < s->out_width; x++)
                for (size_t i = 0; i < l->rest; i++)
                    packed[x * width + i] =
                        ck_load(a->gradient_out, (row + x) * s->out_channels + channel + i, s->element);
        const float *from = source + y * line;
        for (size_t x = 0; x < s->out_width; x += (size_t)pixels, from += (size_t)pixels * width) {
            ck_lanes gradient;
            const size_t at = (row + x) * s->out_channels + channel;
            if (group) gradient = ck_read(packed, x * width, CK_FLOAT32);
            else if (s->element == CK_BFLOAT16) gradient = ck_read(a->gradient_out, at, CK_BFLOAT16);
            else gradient = ck_read(a->gradient_out, at, CK_FLOAT32);
            bias += gradient;
            ALL for (int ky = 0; ky < kernel; ky++)
                ALL for (int kx = 0; kx < kernel; kx++) {
                    const float *tap = from + (size_t)ky * line + (size_t)kx * width;
                    const ck_lanes value = group ? ck_read(tap, 0, CK_FLOAT32) : ck_splat(*tap);
                    sums[ky * kernel + kx] = value * gradient + sums[ky * kernel + kx];
                }
        }
    }
    ALL for (int t = 0; t < kernel * kernel; t++)
        *(ck_unaligned_lanes *)(totals + (size_t)t * step) += sums[t];
    *(ck_unaligned_lanes *)(totals + l->taps * step) += bias;
}

CK_INLINE void sum_images(
    const ck_dense_weights_arguments *a, const layout *l, float *scratch, size_t begin, size_t end,
    const int kernel) {
    float *packed = scratch + l->image + l->repeated, *totals = packed + l->packed;
    const size_t step = (l->whole + 1) * CK_LANES, rest = l->whole * CK_LANES;
    __builtin_memset(packed, 0, (l->packed + l->sums) * sizeof(float));
    for (size_t n = begin; n < end; n++) {
        pad_image(&a->shape, l, a->input, n, scratch, scratch + l->image);
        for (size_t c = 0; c < rest; c += CK_LANES)
            sum_image(a, l, scratch, packed, n, c, totals + c, step, kernel, 0);
        if (l->group == 4) sum_image(a, l, scratch, packed, n, rest, totals + rest, step, kernel, 4);
        if (l->group == 8) sum_image(a, l, scratch, packed, n, rest, totals + rest, step, kernel, 8);
        if (l->group == CK_LANES)
            sum_image(a, l, scratch, packed, n, rest, totals + rest, step, kernel, CK_LANES);
    }
}

CK_WIDE
static void weights_part(
    const ck_dense_weights_arguments *a, const layout *l, float *scratch, size_t begin, size_t end) {
    if (a->shape.kernel == 5) sum_images(a, l, scratch, begin, end, 5);
    else sum_images(a, l, scratch, begin, end, 3);
}

static void weights_thread(void *pointer, int thread, int threads) {
    const ck_dense_weights_arguments *a = pointer;
    const layout l = layout_of(&a->shape);
    const size_t begin = a->shape.batch * (size_t)thread / (size_t)threads;
    const size_t end = a->shape.batch * ((size_t)thread + 1) / (size_t)threads;
    weights_part(a, &l, a->scratch + (size_t)thread * l.thread, begin, end);
}

void ck_single_channel_backward_weights(const ck_dense_weights_arguments *a) {
    const layout l = layout_of(&a->shape);
    const size_t channels = a->shape.out_channels, step = (l.whole + 1) * CK_LANES;
    const size_t threads = (size_t)ck_team_count();
    ck_team_run(weights_thread, (void *)a);
    for (size_t tap = 0; tap <= l.taps; tap++) {
        float *to = tap < l.taps ? a->gradient_weights + tap * channels : a->gradient_bias;
        for (size_t c = 0; to && c < channels; c++) {
            // The rest's groups in turn, and each of them over the threads.
            const size_t lanes = c < l.whole * CK_LANES ? CK_LANES : l.group;
            float sum = 0;
            for (size_t lane = 0; lane < CK_LANES; lane += lanes)
                for (size_t thread = 0; thread < threads; thread++)
                    sum += a->scratch[
                        thread * l.thread + l.image + l.repeated + l.packed + tap * step + c + lane];
            to[c] = sum;
        }
    }
}
