// What the forward and the backward pass of attention share. One thread works on one head at a time; a head's
// queries, keys and values are packed into that thread's scratch as float32, rows padded with zeros to
// `padded`.
#pragma once
#include "lane_values.h"
#include "philox.h"
#include "products.h"
#include "vector_math.h"

/// Rows of a small product with causal limits: one vector of columns, so that strip and limit meet at the
/// diagonal.
enum { CK_ATTENTION_STRIP = 16 };

// The same with products of bfloat16 pairs; see attention_pairs.h.
void ck_attention_pairs(const ck_attention_arguments *arguments);
void ck_attention_pairs_backward(const ck_attention_arguments *arguments);
size_t ck_attention_pairs_scratch_count(size_t tokens, size_t head_width);
size_t ck_attention_pairs_backward_scratch_count(size_t tokens, size_t head_width);

/// Copies `count` rows of `width` elements that lie `stride` apart, times `scale`, into rows of `padded`
/// floats (a multiple of 16); rows from `count` to `rows` become 0.
CK_INLINE void ck_pack_rows(float *to, size_t padded, size_t rows, const void *from, size_t offset,
                            size_t stride, size_t count, size_t width, float scale, const ck_element type) {
    const size_t whole = width / CK_LANES * CK_LANES;
    for (size_t row = 0; row < count; row++) {
        size_t start = offset + row * stride;
        float *line = to + row * padded;
        for (size_t d = 0; d < whole; d += CK_LANES)
            ck_write(line, d, ck_read(from, start + d, type) * ck_splat(scale), CK_FLOAT32);
        if (whole < padded) {
            ck_lanes rest = ck_read_some(from, start + whole, width - whole, type) * ck_splat(scale);
            ck_write(line, whole, rest, CK_FLOAT32);
        }
    }
    for (size_t i = count * padded; i < rows * padded; i += CK_LANES)
        ck_write(to, i, ck_splat(0), CK_FLOAT32);
}

/// Sixteen packed rows turned into one panel [padded, 16], whose lanes are the rows.
CK_INLINE void ck_pack_panel(float *panel, const float *rows, size_t padded) {
    for (size_t d = 0; d < padded; d += CK_LANES) {
        ck_lanes block[CK_LANES];
#pragma clang loop unroll(full)
        for (int i = 0; i < CK_LANES; i++) block[i] = ck_read(rows, (size_t)i * padded + d, CK_FLOAT32);
        ck_transpose_lanes(block);
#pragma clang loop unroll(full)
        for (int i = 0; i < CK_LANES; i++)
            ck_write(panel, (d + (size_t)i) * CK_LANES, block[i], CK_FLOAT32);
    }
}

/// Writes packed rows times `scale` to rows that lie `stride` apart.
CK_INLINE void ck_unpack_rows(void *to, size_t offset, size_t stride, const float *from, size_t padded,
                              size_t count, size_t width, float scale, const ck_element type) {
    const size_t whole = width / CK_LANES * CK_LANES;
    for (size_t row = 0; row < count; row++) {
        size_t start = offset + row * stride;
        const float *line = from + row * padded;
        for (size_t d = 0; d < whole; d += CK_LANES)
            ck_write(to, start + d, ck_read(line, d, CK_FLOAT32) * ck_splat(scale), type);
        if (whole < width) {
            ck_lanes rest = ck_read(line, whole, CK_FLOAT32) * ck_splat(scale);
            ck_write_some(to, start + whole, width - whole, rest, type);
        }
    }
}

/// Multiplies `vectors * 16` values of one row, from column `column` (a multiple of 64) on, by the 0 or
/// 1 / (1 - p) of each.
///
/// Column c of row r takes word c % 64 / 16 of block 16 (r * ceil(tokens / 64) + c / 64) + c % 16.
CK_INLINE void ck_drop_row(float *values, size_t vectors, size_t row, size_t column,
    const ck_attention_arguments *a) {
    const float scale = 1.0f / (1.0f - a->probability);
    const uint64_t step = a->state->step;
    const ck_bit_lanes threshold = (ck_bit_lanes)ck_drop_threshold(a->probability);
    uint32_t words[4][CK_PHILOX_BLOCKS];
    for (size_t v = 0; v < vectors; v++) {
        if (v % 4 == 0) {
            size_t unit = row * ((a->tokens + 63) / 64) + column / 64 + v / 4;
            ck_philox((uint32_t)(unit * CK_PHILOX_BLOCKS), (uint32_t)step, a->layer,
                      ck_philox_high(step, a->purpose),
                      a->state->seed, words);
        }
        ck_bit_lanes word;
        __builtin_memcpy(&word, words[v % 4], sizeof word);
        ck_lanes value = ck_read(values, v * CK_LANES, CK_FLOAT32) * ck_splat(scale);
        value = (word >> 8) >= threshold ? value : ck_splat(0);
        ck_write(values, v * CK_LANES, value, CK_FLOAT32);
    }
}

/// The heads that a thread works on: an even share, in order, so that neighbours share cache lines.
typedef struct {
    size_t begin, end;
} ck_head_range;

CK_INLINE ck_head_range ck_heads_of(const ck_attention_arguments *a, int thread, int threads) {
    size_t workers = (size_t)threads < a->threads ? (size_t)threads : a->threads;
    size_t index = (size_t)thread, heads = a->batch * a->heads;
    if (index >= workers) return (ck_head_range){0, 0};
    return (ck_head_range){heads * index / workers, heads * (index + 1) / workers};
}

/// The keys that a head's sample has: all, or those before its padding.
CK_INLINE size_t ck_key_count(const ck_attention_arguments *a, size_t head) {
    if (!a->lengths) return a->tokens;
    const int32_t length = a->lengths[head / a->heads];
    return length < 1 ? 1 : (size_t)length < a->tokens ? (size_t)length : a->tokens;
}

/// How many of `columns` keys from `key` on a row sees.
CK_INLINE size_t ck_visible_keys(const ck_attention_arguments *a, size_t row, size_t key, size_t columns) {
    const size_t count = a->causal ? row + 1 - key : columns;
    return count < columns ? count : columns;
}

/// Where a head's parts lie in `qkv` and `output`, in elements.
typedef struct {
    size_t head;
    size_t query;
    size_t query_stride;
    size_t output;
    size_t output_stride;
} ck_head_place;

CK_INLINE ck_head_place ck_place_of(const ck_attention_arguments *a, size_t head) {
    const size_t width = a->heads * a->head_width, token = head / a->heads * a->tokens;
    const size_t column = head % a->heads * a->head_width;
    return (ck_head_place){head, token * 3 * width + column, 3 * width, token * width + column, width};
}

/// Keys and values that nothing saw have no gradient.
CK_INLINE void ck_clear_keys(const ck_attention_arguments *a, size_t query, size_t keys,
                             const ck_element type) {
    const size_t width = a->heads * a->head_width;
    for (size_t row = keys; row < a->tokens; row++)
        for (size_t d = 0; d < a->head_width; d++) {
            ck_store(a->qkv_gradient, query + (3 * row + 1) * width + d, 0, type);
            ck_store(a->qkv_gradient, query + (3 * row + 2) * width + d, 0, type);
        }
}
