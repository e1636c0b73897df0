#include "sparse.h"

size_t ck_sparse_weights_size(const ck_sparse_shape *s) {
    return ck_sparse_starts_size(s) + ck_sparse_offsets_size(s) + s->capacity * s->block * sizeof(float);
}

/// How far the input of a channel and tap lies from that of the first.
static size_t offset_of(const ck_sparse_shape *s, size_t channel, size_t y, size_t x) {
    const size_t line = ck_sparse_line(s), row = y * s->dilation_height, column = x * s->dilation_width;
    switch (s->lanes) {
    case CK_SPARSE_PIXELS: return (channel * ck_sparse_rows(s) + row) * line + column;
    case CK_SPARSE_SAMPLES: return ((row * line + column) * s->channels + channel) * CK_LANES;
    default: return channel;
    }
}

/// Whether any weight of a column of a group is not zero.
static int is_kept(const float *column, size_t width, size_t rows) {
    for (size_t i = 0; i < rows; i++)
        if (column[i * width] != 0) return 1;
    return 0;
}

size_t ck_sparse_pack(const ck_sparse_pack_arguments *a) {
    const ck_sparse_shape *s = &a->shape;
    const ck_sparse_weights parts = ck_sparse_parts(s, a->packed);
    uint32_t *starts = (uint32_t *)(uintptr_t)parts.starts, *offsets = (uint32_t *)(uintptr_t)parts.offsets;
    float *values = (float *)(uintptr_t)parts.values;
    const size_t taps = s->kernel_height * s->kernel_width, width = s->channels * taps;
    // In the order in which the inputs lie, so that a sum goes through them from front to back.
    const int byChannel = s->lanes == CK_SPARSE_PIXELS;
    const size_t inner = byChannel ? taps : s->channels, groups = ck_sparse_groups(s);
    size_t count = 0;
    for (size_t group = 0; group < groups; group++) {
        const size_t row = group * s->block, left = s->out_channels - row;
        const size_t rows = left < s->block ? left : s->block;
        starts[group] = (uint32_t)count;
        for (size_t place = 0; place < width; place++) {
            const size_t channel = byChannel ? place / inner : place % inner;
            const size_t tap = byChannel ? place % inner : place / inner;
            const float *column = a->weights + row * width + channel * taps + tap;
            if (!is_kept(column, width, rows)) continue;
            if (count < s->capacity) {
                const size_t y = tap / s->kernel_width, x = tap % s->kernel_width;
                offsets[count] = (uint32_t)offset_of(s, channel, y, x);
                for (size_t i = 0; i < s->block; i++)
                    values[count * s->block + i] = i < rows ? column[i * width] : 0;
            }
            count += 1;
        }
    }
    starts[groups] = (uint32_t)(count < s->capacity ? count : s->capacity);
    return count;
}
