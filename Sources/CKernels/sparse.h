// How packed weights lie, and what a product with them reads.
#pragma once
#include "lane_values.h"

/// Where the parts of packed weights begin.
typedef struct {
    /// The first column of each group, and behind the last the number of all; counted in columns.
    const uint32_t *starts;
    /// For each column how far from a vector's first element its inputs lie, in floats.
    const uint32_t *offsets;
    /// `block` weights a column.
    const float *values;
} ck_sparse_weights;

CK_INLINE size_t ck_sparse_groups(const ck_sparse_shape *s) {
    return (s->out_channels + s->block - 1) / s->block;
}

CK_INLINE size_t ck_sparse_starts_size(const ck_sparse_shape *s) {
    return ck_round_up((ck_sparse_groups(s) + 1) * sizeof(uint32_t), 64);
}

CK_INLINE size_t ck_sparse_offsets_size(const ck_sparse_shape *s) {
    return ck_round_up(s->capacity * sizeof(uint32_t), 64);
}

CK_INLINE ck_sparse_weights ck_sparse_parts(const ck_sparse_shape *s, const void *packed) {
    const char *start = packed;
    const size_t offsets = ck_sparse_starts_size(s), values = offsets + ck_sparse_offsets_size(s);
    return (ck_sparse_weights){
        (const uint32_t *)start, (const uint32_t *)(start + offsets), (const float *)(start + values)};
}

// The extents of an image with its padding.
CK_INLINE size_t ck_sparse_rows(const ck_sparse_shape *s) { return s->height + 2 * s->padding_height; }
CK_INLINE size_t ck_sparse_line(const ck_sparse_shape *s) { return s->width + 2 * s->padding_width; }

/// Elements of a padded image of one sample.
CK_INLINE size_t ck_sparse_image(const ck_sparse_shape *s) {
    return ck_sparse_rows(s) * ck_sparse_line(s) * s->channels;
}
