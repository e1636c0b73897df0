#include "winograd_tiles.h"

// ---- The gradient of the input.

/// The weights of all points, [points, out, in]; one unit is one vector of output channels.
CK_INLINE void turned_weights_of(
    const ck_dense_data_arguments *a, size_t begin, size_t end, const ck_points table, const int pairs,
    const int taps) {
    const ck_dense_shape *s = &a->shape;
    const ck_tiling t = ck_tiling_of(s);
    const size_t wide = s->out_channels, some = wide < CK_LANES ? wide : CK_LANES;
    float copy[CK_LANES][25 * CK_LANES];
    for (size_t unit = begin; unit < end; unit++)
        for (size_t in = 0; in < s->in_channels; in += CK_LANES) {
            const size_t c = ck_first_channel(unit * CK_LANES, wide);
            for (int k = 0; k < taps * taps; k++) {
                ck_lanes rows[CK_LANES];
                for (size_t i = 0; i < CK_LANES; i++) {
                    const size_t row = in + i < s->in_channels ? in + i : s->in_channels - 1;
                    rows[i] = ck_read_some(
                        a->weights, ((size_t)k * s->in_channels + row) * wide + c, some, CK_FLOAT32);
                }
                ck_transpose_lanes(rows);
                for (size_t i = 0; i < CK_LANES; i++)
                    ck_write(copy[i], (size_t)k * CK_LANES, rows[i], CK_FLOAT32);
            }
            for (size_t i = 0; i < some; i++) {
                const ck_square square = {copy[i], (size_t)taps * CK_LANES, CK_LANES};
                ck_square_to_points(table, pairs, taps, &square, 0, a->scratch + (c + i) * t.in_padded + in,
                    t.weight_plane, CK_FLOAT32);
            }
        }
}

CK_WIDE
static void turned_weights_range(const void *pointer, size_t begin, size_t end) {
    const ck_dense_data_arguments *a = pointer;
    if (a->shape.kernel == 5) turned_weights_of(a, begin, end, ck_taps5, 3, 5);
    else turned_weights_of(a, begin, end, ck_taps3, 2, 3);
}

/// A tile's outputs' gradients at all points; adds the gradients themselves to `sums`, where there are any.
CK_INLINE void gradients_to_points(
    const ck_dense_shape *s, const ck_tiling *t, const void *gradient, size_t tile, float *planes,
    float *copy, float *sums, const ck_points outputs, const int pairs, const ck_element type) {
    const size_t image = s->out_height * s->out_width * s->out_channels * (type == CK_BFLOAT16 ? 2 : 4);
    const size_t n = tile / t->tiles, at = tile % t->tiles;
    const ck_square square = ck_square_at(
        (const char *)gradient + n * image, s->out_height, s->out_width, s->out_channels,
        (ptrdiff_t)(at / t->tile_columns * CK_TILE_OUTPUTS),
        (ptrdiff_t)(at % t->tile_columns * CK_TILE_OUTPUTS), CK_TILE_OUTPUTS, copy, type);
    for (size_t block = 0; block < s->out_channels; block += CK_LANES) {
        const size_t c = ck_first_channel(block, s->out_channels);
        const ck_lanes sum = ck_square_to_points(
            outputs, pairs, CK_TILE_OUTPUTS, &square, c, planes + c, t->out_plane, type);
        if (sums) *(ck_unaligned_lanes *)(sums + block) += sum;
    }
}

/// Adds a tile's gradients to those of its image, in which tiles overlap.
CK_INLINE void add_tile(
    const ck_dense_shape *s, const ck_tiling *t, const float *planes, float *image, float *square,
    size_t row, size_t column, const ck_points inputs, const int pairs) {
    const ptrdiff_t size = 2 * pairs + 2, high = (ptrdiff_t)s->height, wide = (ptrdiff_t)s->width;
    const ptrdiff_t y = (ptrdiff_t)(row * CK_TILE_OUTPUTS) - (ptrdiff_t)s->padding_height;
    const ptrdiff_t x = (ptrdiff_t)(column * CK_TILE_OUTPUTS) - (ptrdiff_t)s->padding_width;
    const size_t channels = s->in_channels;
    for (size_t block = 0; block < channels; block += CK_LANES) {
        const size_t c = ck_first_channel(block, channels);
        ck_lanes values[CK_POINTS_MAX];
        ck_points_to_square(inputs, pairs, 2 * pairs + 2, planes + c, t->in_plane, values);
        CK_ALL for (int i = 0; i < (2 * pairs + 2) * (2 * pairs + 2); i++)
            ck_write(square, (size_t)i * channels + c, values[i], CK_FLOAT32);
    }
    const ptrdiff_t left = x < 0 ? -x : 0, right = x + size <= wide ? size : wide - x;
    for (ptrdiff_t i = 0; i < size && left < right; i++) {
        if (y + i < 0 || y + i >= high) continue;
        float *to = image + (size_t)((y + i) * wide + x + left) * channels;
        const float *from = square + (size_t)(i * size + left) * channels;
        const size_t count = (size_t)(right - left) * channels;
        CK_INDEPENDENT for (size_t j = 0; j < count; j++) to[j] += from[j];
    }
}

/// The images begin..<end.
CK_INLINE void data_images(
    const ck_dense_data_arguments *a, float *scratch, size_t begin, size_t end, const ck_points inputs,
    const ck_points outputs, const int pairs, const ck_element type) {
    const ck_dense_shape *s = &a->shape;
    const ck_tiling t = ck_tiling_of(s);
    const size_t image = s->height * s->width * s->in_channels;
    float *in = scratch, *out = in + t.points * t.in_plane, *copy = out + t.points * t.out_plane;
    float *whole = scratch + t.thread - ck_round_up(image, CK_LANES);
    for (size_t first = begin * t.tiles; first < end * t.tiles; first += CK_BLOCK_TILES) {
        const size_t left = end * t.tiles - first, count = left < CK_BLOCK_TILES ? left : CK_BLOCK_TILES;
        for (size_t i = 0; i < count; i++)
            gradients_to_points(
                s, &t, a->gradient_out, first + i, out + i * t.out_padded, copy, NULL, outputs, pairs, type);
        for (size_t p = 0; p < t.points; p++)
            ck_multiply(&(ck_product){
                .rows = ck_round_up(count, CK_PRODUCT_ROWS), .vectors = t.in_padded / CK_LANES,
                .depth = s->out_channels,
                .a = out + p * t.out_plane, .a_row = t.out_padded, .a_depth = 1,
                .b = a->scratch + p * t.weight_plane, .b_depth = t.in_padded, .b_vector = CK_LANES,
                .c = in + p * t.in_plane, .c_row = t.in_padded});
        for (size_t i = 0; i < count; i++) {
            const size_t n = (first + i) / t.tiles, at = (first + i) % t.tiles;
            float *sum = type == CK_BFLOAT16 ? whole : (float *)a->gradient_in + n * image;
            if (at == 0) __builtin_memset(sum, 0, image * sizeof(float));
            add_tile(s, &t, in + i * t.in_padded, sum, copy, at / t.tile_columns, at % t.tile_columns, inputs,
                pairs);
            if (type == CK_BFLOAT16 && at == t.tiles - 1)
                CK_INDEPENDENT for (size_t j = 0; j < image; j++)
                    ck_store(a->gradient_in, n * image + j, sum[j], type);
        }
    }
}

CK_WIDE
static void data_part(const ck_dense_data_arguments *a, float *scratch, size_t begin, size_t end) {
    const int is_half = a->shape.element == CK_BFLOAT16;
    if (a->shape.kernel == 5) {
        if (is_half) data_images(a, scratch, begin, end, ck_inputs5, ck_outputs5, 3, CK_BFLOAT16);
        else data_images(a, scratch, begin, end, ck_inputs5, ck_outputs5, 3, CK_FLOAT32);
    } else {
        if (is_half) data_images(a, scratch, begin, end, ck_inputs3, ck_outputs3, 2, CK_BFLOAT16);
        else data_images(a, scratch, begin, end, ck_inputs3, ck_outputs3, 2, CK_FLOAT32);
    }
}

static void data_thread(void *pointer, int thread, int threads) {
    const ck_dense_data_arguments *a = pointer;
    const ck_tiling t = ck_tiling_of(&a->shape);
    const size_t batch = a->shape.batch;
    const size_t begin = batch * (size_t)thread / (size_t)threads;
    const size_t end = batch * ((size_t)thread + 1) / (size_t)threads;
    if (begin < end) data_part(a, a->scratch + t.weights + (size_t)thread * t.thread, begin, end);
}

void ck_winograd_backward_data(const ck_dense_data_arguments *a) {
    const size_t vectors = (a->shape.out_channels + CK_LANES - 1) / CK_LANES;
    ck_for_units(turned_weights_range, a, vectors, CK_LANES * a->shape.in_channels * 64);
    ck_team_run(data_thread, (void *)a);
}

// ---- The gradients of the weights and the bias.

/// Adds the tiles begin..<end to a thread's sums over all points, [points, in, out], and over all outputs.
CK_INLINE void weights_tiles(
    const ck_dense_weights_arguments *a, float *scratch, size_t begin, size_t end, const ck_points inputs,
    const ck_points outputs, const int pairs, const ck_element type) {
    const ck_dense_shape *s = &a->shape;
    const ck_tiling t = ck_tiling_of(s);
    float *in = scratch, *out = in + t.points * t.in_plane, *sums = out + t.points * t.out_plane;
    float *biases = sums + t.weights, *copy = biases + t.out_padded;
    __builtin_memset(biases, 0, t.out_padded * sizeof(float));
    for (size_t first = begin; first < end; first += CK_BLOCK_TILES) {
        const size_t left = end - first, count = left < CK_BLOCK_TILES ? left : CK_BLOCK_TILES;
        for (size_t i = 0; i < count; i++) {
            ck_inputs_to_points(
                s, &t, a->input, first + i, in + i * t.in_padded, copy, inputs, pairs, type);
            gradients_to_points(s, &t, a->gradient_out, first + i, out + i * t.out_padded, copy, biases,
                outputs, pairs, type);
        }
        for (size_t p = 0; p < t.points; p++)
            ck_multiply(&(ck_product){
                .rows = ck_round_up(s->in_channels, CK_PRODUCT_ROWS), .vectors = t.out_padded / CK_LANES,
                .depth = count,
                .a = in + p * t.in_plane, .a_row = 1, .a_depth = t.in_padded,
                .b = out + p * t.out_plane, .b_depth = t.out_padded, .b_vector = CK_LANES,
                .c = sums + p * t.weight_plane, .c_row = t.out_padded, 
                .adds = first != begin});
    }
}

CK_WIDE
static void weights_part(const ck_dense_weights_arguments *a, float *scratch, size_t begin, size_t end) {
    const int is_half = a->shape.element == CK_BFLOAT16;
    if (a->shape.kernel == 5) {
        if (is_half) weights_tiles(a, scratch, begin, end, ck_inputs5, ck_outputs5, 3, CK_BFLOAT16);
        else weights_tiles(a, scratch, begin, end, ck_inputs5, ck_outputs5, 3, CK_FLOAT32);
    } else {
        if (is_half) weights_tiles(a, scratch, begin, end, ck_inputs3, ck_outputs3, 2, CK_BFLOAT16);
        else weights_tiles(a, scratch, begin, end, ck_inputs3, ck_outputs3, 2, CK_FLOAT32);
    }
}

static void weights_thread(void *pointer, int thread, int threads) {
    const ck_dense_weights_arguments *a = pointer;
    const ck_tiling t = ck_tiling_of(&a->shape);
    float *scratch = a->scratch + t.weights + (size_t)thread * t.thread;
    size_t begin, end;
    ck_share_tiles(&a->shape, &t, thread, threads, &begin, &end);
    // Fewer tiles than threads: the sums of nothing.
    if (begin == end) __builtin_memset(scratch, 0, t.thread * sizeof(float));
    else weights_part(a, scratch, begin, end);
}

/// From the threads' sums, added in their order, to taps; one unit is one input channel.
CK_INLINE void taps_of(
    const ck_dense_weights_arguments *a, size_t begin, size_t end, const ck_points table, const int pairs,
    const int taps) {
    const ck_dense_shape *s = &a->shape;
    const ck_tiling t = ck_tiling_of(s);
    const size_t wide = s->out_channels, some = wide < CK_LANES ? wide : CK_LANES;
    const size_t threads = (size_t)ck_team_count();
    const float *first = a->scratch + t.weights + t.points * (t.in_plane + t.out_plane);
    float planes[CK_POINTS_MAX * CK_LANES];
    for (size_t in = begin; in < end; in++)
        for (size_t block = 0; block < wide; block += CK_LANES) {
            const size_t c = ck_first_channel(block, wide);
            for (size_t p = 0; p < t.points; p++) {
                const float *sums = first + p * t.weight_plane + in * t.out_padded + c;
                ck_lanes sum = ck_read(sums, 0, CK_FLOAT32);
                for (size_t thread = 1; thread < threads; thread++)
                    sum += ck_read(sums, thread * t.thread, CK_FLOAT32);
                ck_write(planes, p * CK_LANES, sum, CK_FLOAT32);
            }
            ck_lanes square[25];
            ck_points_to_square(table, pairs, taps, planes, CK_LANES, square);
            for (int k = 0; k < taps * taps; k++)
                ck_write_some(
                    a->gradient_weights, ((size_t)k * s->in_channels + in) * wide + c, some, square[k],
                    CK_FLOAT32);
        }
}

CK_WIDE
static void taps_range(const void *pointer, size_t begin, size_t end) {
    const ck_dense_weights_arguments *a = pointer;
    if (a->shape.kernel == 5) taps_of(a, begin, end, ck_taps5, 3, 5);
    else taps_of(a, begin, end, ck_taps3, 2, 3);
}

void ck_winograd_backward_weights(const ck_dense_weights_arguments *a) {
    const ck_dense_shape *s = &a->shape;
    const ck_tiling t = ck_tiling_of(s);
    const size_t team = (size_t)ck_team_count();
    ck_team_run(weights_thread, (void *)a);
    ck_for_units(taps_range, a, s->in_channels, s->out_channels * 64);
    if (!a->gradient_bias) return;
    const float *sums = a->scratch + t.weights + t.points * (t.in_plane + t.out_plane) + t.weights;
    for (size_t c = 0; c < s->out_channels; c++) {
        // The last vector begins early, in whose place its sums are kept.
        const size_t block = c / CK_LANES * CK_LANES;
        const size_t at = block + c - ck_first_channel(block, s->out_channels);
        a->gradient_bias[c] = sums[at];
        for (size_t thread = 1; thread < team; thread++) a->gradient_bias[c] += sums[thread * t.thread + at];
    }
}
