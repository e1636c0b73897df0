#include "winograd_tiles.h"

int32_t ck_has_wide_vectors(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("x86-64-v4") != 0;
#else
    return 0;
#endif
}

size_t ck_winograd_scratch_count(const ck_dense_shape *shape, size_t threads) {
    const ck_tiling t = ck_tiling_of(shape);
    return t.weights + threads * t.thread;
}

/// The weights of all points, [points, in, out]; one unit is one input channel.
CK_INLINE void weights_of(
    const ck_dense_arguments *a, size_t begin, size_t end, const ck_points table,
    const int pairs, const int taps) {
    const ck_dense_shape *s = &a->shape;
    const ck_tiling t = ck_tiling_of(s);
    const size_t wide = s->out_channels, some = wide < CK_LANES ? wide : CK_LANES;
    float copy[25 * CK_LANES];
    for (size_t in = begin; in < end; in++)
        for (size_t block = 0; block < wide; block += CK_LANES) {
            const size_t c = ck_first_channel(block, wide);
            for (int k = 0; k < taps * taps; k++)
                ck_write(copy, (size_t)k * CK_LANES,
                    ck_read_some(a->weights, ((size_t)k * s->in_channels + in) * wide + c, some, CK_FLOAT32),
                    CK_FLOAT32);
            const ck_square square = {copy, (size_t)taps * CK_LANES, CK_LANES};
            ck_square_to_points(table, pairs, taps, &square, 0, a->scratch + in * t.out_padded + c,
                t.weight_plane, CK_FLOAT32);
        }
}

CK_WIDE
static void weights_range(const void *pointer, size_t begin, size_t end) {
    const ck_dense_arguments *a = pointer;
    if (a->shape.kernel == 5) weights_of(a, begin, end, ck_taps5, 3, 5);
    else weights_of(a, begin, end, ck_taps3, 2, 3);
}

/// Sums over all points to outputs, which are clamped and stored.
CK_INLINE void store_tile(
    const ck_dense_arguments *a, const ck_tiling *t, const float *planes, void *image, float *copy,
    size_t row, size_t column, const ck_points table, const int pairs, const ck_element type) {
    const ck_dense_shape *s = &a->shape;
    const size_t channels = s->out_channels, bytes = type == CK_BFLOAT16 ? 2 : 4;
    const size_t y = row * CK_TILE_OUTPUTS, x = column * CK_TILE_OUTPUTS;
    const size_t high = s->out_height - y < CK_TILE_OUTPUTS ? s->out_height - y : CK_TILE_OUTPUTS;
    const size_t wide = s->out_width - x < CK_TILE_OUTPUTS ? s->out_width - x : CK_TILE_OUTPUTS;
    const int is_inside = high == CK_TILE_OUTPUTS && wide == CK_TILE_OUTPUTS && channels >= CK_LANES;
    char *corner = (char *)image + (y * s->out_width + x) * channels * bytes;
    char *to = is_inside ? corner : (char *)copy;
    const size_t step = (is_inside ? s->out_width : CK_TILE_OUTPUTS) * channels;
    for (size_t block = 0; block < channels; block += CK_LANES) {
        const size_t c = ck_first_channel(block, channels);
        ck_lanes square[CK_TILE_OUTPUTS * CK_TILE_OUTPUTS], start = ck_splat(0);
        if (a->bias) start = ck_read_some(a->bias, c, channels < CK_LANES ? channels : CK_LANES, CK_FLOAT32);
        ck_points_to_square(table, pairs, CK_TILE_OUTPUTS, planes + c, t->out_plane, square);
        CK_ALL for (size_t i = 0; i < CK_TILE_OUTPUTS; i++)
            CK_ALL for (size_t j = 0; j < CK_TILE_OUTPUTS; j++) {
                ck_lanes value = square[i * CK_TILE_OUTPUTS + j] + start;
                value = value < a->low ? ck_splat(a->low) : value;
                value = value > a->high ? ck_splat(a->high) : value;
                ck_write(to, i * step + j * channels + c, value, type);
            }
    }
    if (is_inside) return;
    for (size_t i = 0; i < high; i++)
        __builtin_memcpy(
            corner + i * s->out_width * channels * bytes, to + i * step * bytes, wide * channels * bytes);
}

/// The tiles begin..<end, counted over all images.
CK_INLINE void forward_tiles(
    const ck_dense_arguments *a, float *scratch, size_t begin, size_t end, const ck_points inputs,
    const ck_points outputs, const int pairs, const ck_element type) {
    const ck_dense_shape *s = &a->shape;
    const ck_tiling t = ck_tiling_of(s);
    const size_t bytes = type == CK_BFLOAT16 ? 2 : 4;
    const size_t out_image = s->out_height * s->out_width * s->out_channels * bytes;
    float *in = scratch, *out = in + t.points * t.in_plane, *copy = out + t.points * t.out_plane;
    for (size_t first = begin; first < end; first += CK_BLOCK_TILES) {
        const size_t left = end - first, count = left < CK_BLOCK_TILES ? left : CK_BLOCK_TILES;
        for (size_t i = 0; i < count; i++)
            ck_inputs_to_points(
                s, &t, a->input, first + i, in + i * t.in_padded, copy, inputs, pairs, type);
        for (size_t p = 0; p < t.points; p++)
            ck_multiply(&(ck_product){
                .rows = ck_round_up(count, CK_PRODUCT_ROWS), .vectors = t.out_padded / CK_LANES,
                .depth = s->in_channels,
                .a = in + p * t.in_plane, .a_row = t.in_padded, .a_depth = 1,
                .b = a->scratch + p * t.weight_plane, .b_depth = t.out_padded, .b_vector = CK_LANES,
                .c = out + p * t.out_plane, .c_row = t.out_padded});
        for (size_t i = 0; i < count; i++) {
            const size_t n = (first + i) / t.tiles, at = (first + i) % t.tiles;
            store_tile(a, &t, out + i * t.out_padded, (char *)a->output + n * out_image, copy,
                at / t.tile_columns, at % t.tile_columns, outputs, pairs, type);
        }
    }
}

CK_WIDE
static void forward_part(const ck_dense_arguments *a, float *scratch, size_t begin, size_t end) {
    const int is_half = a->shape.element == CK_BFLOAT16;
    if (a->shape.kernel == 5) {
        if (is_half) forward_tiles(a, scratch, begin, end, ck_inputs5, ck_outputs5, 3, CK_BFLOAT16);
        else forward_tiles(a, scratch, begin, end, ck_inputs5, ck_outputs5, 3, CK_FLOAT32);
    } else {
        if (is_half) forward_tiles(a, scratch, begin, end, ck_inputs3, ck_outputs3, 2, CK_BFLOAT16);
        else forward_tiles(a, scratch, begin, end, ck_inputs3, ck_outputs3, 2, CK_FLOAT32);
    }
}

static void forward_thread(void *pointer, int thread, int threads) {
    const ck_dense_arguments *a = pointer;
    const ck_tiling t = ck_tiling_of(&a->shape);
    size_t begin, end;
    ck_share_tiles(&a->shape, &t, thread, threads, &begin, &end);
    if (begin < end) forward_part(a, a->scratch + t.weights + (size_t)thread * t.thread, begin, end);
}

void ck_winograd(const ck_dense_arguments *a) {
    ck_for_units(weights_range, a, a->shape.in_channels, a->shape.out_channels * 64);
    ck_team_run(forward_thread, (void *)a);
}
