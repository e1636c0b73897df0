// Tiles of images and how they are evaluated, for all passes of `ck_winograd`.
#pragma once
#include "products.h"
#include "winograd.h"

enum {
    /// Tiles that a thread works on at a time: their values stay in its second-level cache.
    CK_BLOCK_TILES = 16,
    CK_POINTS_MAX = CK_TILE_MAX * CK_TILE_MAX,
};

/// What follows from a shape.
typedef struct {
    /// 4 outputs a side from `size` inputs: 8 for a 5x5 kernel, 6 for a 3x3 one.
    size_t size, points;
    size_t tile_rows, tile_columns, tiles;
    /// Channels in vectors: the last one begins early, to be whole, unless it is the first.
    size_t in_padded, out_padded;
    /// Floats of a point's values for all tiles of a block; not a multiple of a page, which would map all
    /// points to the same lines of the cache.
    size_t in_plane, out_plane;
    /// Floats of a point's weights.
    size_t weight_plane;
    /// Floats of all points' weights, and of a thread's scratch.
    size_t weights, thread;
} ck_tiling;

enum { CK_TILE_OUTPUTS = 4 };

CK_INLINE ck_tiling ck_tiling_of(const ck_dense_shape *s) {
    ck_tiling t;
    t.size = s->kernel + CK_TILE_OUTPUTS - 1;
    t.points = t.size * t.size;
    t.tile_rows = (s->out_height + CK_TILE_OUTPUTS - 1) / CK_TILE_OUTPUTS;
    t.tile_columns = (s->out_width + CK_TILE_OUTPUTS - 1) / CK_TILE_OUTPUTS;
    t.tiles = t.tile_rows * t.tile_columns;
    t.in_padded = ck_round_up(s->in_channels, CK_LANES);
    t.out_padded = ck_round_up(s->out_channels, CK_LANES);
    t.in_plane = CK_BLOCK_TILES * t.in_padded + CK_LANES;
    t.out_plane = CK_BLOCK_TILES * t.out_padded + CK_LANES;
    // Rows of a product come in eights.
    const size_t inputs = ck_round_up(s->in_channels, CK_PRODUCT_ROWS) * t.out_padded;
    const size_t outputs = s->out_channels * t.in_padded;
    t.weight_plane = (inputs > outputs ? inputs : outputs) + CK_LANES;
    t.weights = t.points * t.weight_plane;
    const size_t image = s->height * s->width * s->in_channels;
    const size_t channels = t.in_padded > t.out_padded ? t.in_padded : t.out_padded;
    t.thread = t.points * (t.in_plane + t.out_plane) + t.weights + t.out_padded
        + CK_POINTS_MAX * channels + CK_LANES + image;
    t.thread = ck_round_up(t.thread, CK_LANES);
    return t;
}

/// Where the vector of channels from `block` on begins.
CK_INLINE size_t ck_first_channel(size_t block, size_t channels) {
    return block + CK_LANES <= channels || channels < CK_LANES ? block : channels - CK_LANES;
}

/// A square of an image, in place or in a copy.
typedef struct {
    const void *elements;
    /// Elements from one row, and from one column, to the next.
    size_t row, column;
} ck_square;

/// A square of `size` whose corner lies at (y, x) of an image; what lies outside is 0.
///
/// Copied to `copy` where it is not inside, or where its pixels are narrower than a vector.
CK_INLINE ck_square ck_square_at(
    const void *image, size_t height, size_t width, size_t channels, ptrdiff_t y, ptrdiff_t x,
    const ptrdiff_t size, void *copy, const ck_element type) {
    const size_t bytes = type == CK_BFLOAT16 ? 2 : 4;
    const char *from = image;
    const ptrdiff_t high = (ptrdiff_t)height, wide = (ptrdiff_t)width;
    const int is_inside = y >= 0 && x >= 0 && y + size <= high && x + size <= wide;
    if (is_inside && channels >= CK_LANES) {
        const size_t corner = ((size_t)y * width + (size_t)x) * channels;
        return (ck_square){from + corner * bytes, width * channels, channels};
    }
    const size_t row = (size_t)size * channels;
    char *to = copy;
    __builtin_memset(to, 0, ((size_t)size * row + CK_LANES) * bytes);
    const ptrdiff_t left = x < 0 ? -x : 0, right = x + size <= wide ? size : wide - x;
    for (ptrdiff_t i = 0; i < size && left < right; i++) {
        if (y + i < 0 || y + i >= high) continue;
        __builtin_memcpy(
            to + ((size_t)i * row + (size_t)left * channels) * bytes,
            from + ((size_t)(y + i) * width + (size_t)(x + left)) * channels * bytes,
            (size_t)(right - left) * channels * bytes);
    }
    return (ck_square){copy, row, channels};
}

/// `count` x `count` coefficients of each channel to the values at all points, a plane each; returns the
/// coefficients' sum.
CK_INLINE ck_lanes ck_square_to_points(
    const float (*table)[CK_TILE_MAX], const int pairs, const int count, const ck_square *square,
    size_t channel, float *planes, size_t plane, const ck_element type) {
    const int size = 2 * pairs + 2;
    ck_lanes down[CK_TILE_MAX * CK_TILE_MAX], total = ck_splat(0);
    CK_ALL for (int x = 0; x < count; x++) {
        ck_lanes line[CK_TILE_MAX];
        const size_t at = (size_t)x * square->column + channel;
        CK_ALL for (int y = 0; y < count; y++) {
            line[y] = ck_read(square->elements, at + (size_t)y * square->row, type);
            total += line[y];
        }
        ck_to_points(table, pairs, count, line, 1, down + x, CK_TILE_MAX);
    }
    CK_ALL for (int y = 0; y < size; y++) {
        ck_lanes line[CK_TILE_MAX];
        ck_to_points(table, pairs, count, down + y * CK_TILE_MAX, 1, line, 1);
        CK_ALL for (int x = 0; x < size; x++)
            *(ck_unaligned_lanes *)(planes + (size_t)(y * size + x) * plane) = line[x];
    }
    return total;
}

/// The transposed map: from values at all points to `count` x `count` sums.
CK_INLINE void ck_points_to_square(
    const float (*table)[CK_TILE_MAX], const int pairs, const int count, const float *planes, size_t plane,
    ck_lanes *square) {
    const int size = 2 * pairs + 2;
    ck_lanes down[CK_TILE_MAX * CK_TILE_MAX];
    CK_ALL for (int x = 0; x < size; x++) {
        ck_lanes line[CK_TILE_MAX];
        CK_ALL for (int y = 0; y < size; y++)
            line[y] = *(const ck_unaligned_lanes *)(planes + (size_t)(y * size + x) * plane);
        ck_from_points(table, pairs, count, line, 1, down + x, CK_TILE_MAX);
    }
    CK_ALL for (int y = 0; y < count; y++)
        ck_from_points(table, pairs, count, down + y * CK_TILE_MAX, 1, square + y * count, 1);
}

/// A tile's inputs at all points: tile `tile`, counted over all images.
CK_INLINE void ck_inputs_to_points(
    const ck_dense_shape *s, const ck_tiling *t, const void *input, size_t tile, float *planes,
    float *copy, const ck_points inputs, const int pairs, const ck_element type) {
    const size_t image = s->height * s->width * s->in_channels * (type == CK_BFLOAT16 ? 2 : 4);
    const size_t n = tile / t->tiles, at = tile % t->tiles;
    const ck_square square = ck_square_at(
        (const char *)input + n * image, s->height, s->width, s->in_channels,
        (ptrdiff_t)(at / t->tile_columns * CK_TILE_OUTPUTS) - (ptrdiff_t)s->padding_height,
        (ptrdiff_t)(at % t->tile_columns * CK_TILE_OUTPUTS) - (ptrdiff_t)s->padding_width, 2 * pairs + 2,
        copy, type);
    for (size_t block = 0; block < s->in_channels; block += CK_LANES) {
        const size_t c = ck_first_channel(block, s->in_channels);
        ck_square_to_points(inputs, pairs, 2 * pairs + 2, &square, c, planes + c, t->in_plane, type);
    }
}

/// A thread's share of all tiles.
CK_INLINE void ck_share_tiles(
    const ck_dense_shape *s, const ck_tiling *t, int thread, int threads, size_t *begin, size_t *end) {
    const size_t all = s->batch * t->tiles;
    *begin = all * (size_t)thread / (size_t)threads;
    *end = all * ((size_t)thread + 1) / (size_t)threads;
}
