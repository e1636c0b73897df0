#include "attention.h"

/// Keys of one step of the online softmax: a strip of scores and a block of values stay in near caches.
enum { STRIP = CK_ATTENTION_STRIP, KEYS = 256, SCORE_ROW = KEYS + CK_LANES };

/// A thread's scratch, in floats.
typedef struct {
    /// [strip, padded], scaled by 1 / sqrt(head_width).
    float *query;
    /// [tokens / 16][padded][16], tokens rounded up.
    float *keys;
    /// [tokens, padded].
    float *values;
    /// [strip, SCORE_ROW].
    float *scores;
    /// [strip, padded], not yet divided by the sum of the exponentials.
    float *output;
    size_t padded;
} workspace;

static size_t padded_rows(size_t tokens) { return ck_round_up(tokens, CK_LANES); }

size_t ck_attention_scratch_count(size_t tokens, size_t head_width, int32_t pairs) {
#if defined(__x86_64__)
    if (pairs) return ck_attention_pairs_scratch_count(tokens, head_width);
#endif
    (void)pairs;
    return (2 * STRIP + 2 * padded_rows(tokens)) * ck_round_up(head_width, CK_LANES) + STRIP * SCORE_ROW;
}

static workspace lay_out(const ck_attention_arguments *a, int thread) {
    const size_t padded = ck_round_up(a->head_width, CK_LANES), rows = padded_rows(a->tokens);
    workspace w = {.padded = padded};
    w.query = a->scratch + (size_t)thread * ck_attention_scratch_count(a->tokens, a->head_width, 0);
    w.keys = w.query + STRIP * padded;
    w.values = w.keys + rows * padded;
    w.scores = w.values + rows * padded;
    w.output = w.scores + STRIP * SCORE_ROW;
    return w;
}

/// What the online softmax carries from block to block, a lane per row of the strip.
typedef struct {
    float maximum[STRIP];
    float sum[STRIP];
} progress;

/// The largest score of each of `rows` rows.
CK_INLINE ck_lanes largest(const ck_attention_arguments *a, const workspace *w, size_t first_row, size_t rows,
                           size_t key, size_t columns) {
    ck_lanes tops[STRIP];
    for (size_t i = 0; i < STRIP; i++) tops[i] = ck_splat(-INFINITY);
    for (size_t i = 0; i < rows; i++) {
        const size_t limit = ck_visible_keys(a, first_row + i, key, columns);
        const size_t whole = limit / CK_LANES * CK_LANES;
        const float *score = w->scores + i * SCORE_ROW;
        ck_lanes top = ck_splat(-INFINITY);
        for (size_t c = 0; c < whole; c += CK_LANES) {
            const ck_lanes value = ck_read(score, c, CK_FLOAT32);
            top = value > top ? value : top;
        }
        if (limit > whole) {
            const ck_lanes value = ck_read(score, whole, CK_FLOAT32), none = ck_splat(-INFINITY);
            const ck_lanes kept = ck_keep_first(value, (int32_t)(limit - whole), none);
            top = kept > top ? kept : top;
        }
        tops[i] = top;
    }
    return ck_max_rows(tops);
}

/// Scores of `columns` keys from `key` on become exp(score - maximum so far); masked columns become 0.
CK_INLINE void exponentiate(const ck_attention_arguments *a, const workspace *w, progress *state, size_t head,
                            size_t first_row, size_t rows, size_t key, size_t columns) {
    const ck_lanes before = ck_read(state->maximum, 0, CK_FLOAT32);
    const ck_lanes here = largest(a, w, first_row, rows, key, columns);
    ck_write(state->maximum, 0, here > before ? here : before, CK_FLOAT32);
    ck_lanes totals[STRIP];
    for (size_t i = 0; i < STRIP; i++) totals[i] = ck_splat(0);
    for (size_t i = 0; i < rows; i++) {
        const size_t limit = ck_visible_keys(a, first_row + i, key, columns);
        const ck_lanes maximum = ck_splat(state->maximum[i]);
        float *score = w->scores + i * SCORE_ROW;
        ck_lanes total = ck_splat(0);
        for (size_t c = 0; c < columns; c += CK_LANES) {
            ck_lanes value = ck_exp_values(ck_read(score, c, CK_FLOAT32) - maximum);
            if (c + CK_LANES > limit) value = ck_keep_first(value, (int32_t)limit - (int32_t)c, ck_splat(0));
            total += value;
            ck_write(score, c, value, CK_FLOAT32);
        }
        totals[i] = total;
        if (a->probability > 0)
            ck_drop_row(score, (columns + CK_LANES - 1) / CK_LANES, head * a->tokens + first_row + i, key, a);
    }
    const ck_lanes sum = ck_sum_rows(totals);
    if (key == 0) {
        ck_write(state->sum, 0, sum, CK_FLOAT32);
        return;
    }
    const ck_lanes shrink = ck_exp_values(before - ck_read(state->maximum, 0, CK_FLOAT32));
    ck_write(state->sum, 0, ck_read(state->sum, 0, CK_FLOAT32) * shrink + sum, CK_FLOAT32);
    for (size_t i = 0; i < rows; i++) {
        float *output = w->output + i * w->padded;
        for (size_t d = 0; d < w->padded; d += CK_LANES)
            ck_write(output, d, ck_read(output, d, CK_FLOAT32) * ck_splat(shrink[i]), CK_FLOAT32);
    }
}

/// Rows `first_row` to `first_row + rows` of one head: all their keys, in blocks.
CK_INLINE void attend(const ck_attention_arguments *a, const workspace *w, size_t head, size_t first_row,
                      size_t rows, size_t keys, const ck_element type) {
    const size_t width = a->heads * a->head_width, column = head % a->heads * a->head_width;
    const size_t first_token = head / a->heads * a->tokens + first_row;
    const size_t product_rows = ck_round_up(rows, CK_PRODUCT_ROWS), padded = w->padded;
    ck_pack_rows(w->query, padded, product_rows, a->qkv, first_token * 3 * width + column, 3 * width, rows,
                 a->head_width, a->scale, type);
    progress state;
    for (size_t i = 0; i < STRIP; i++) state.maximum[i] = -INFINITY, state.sum[i] = 0;
    const size_t key_end = a->causal && first_row + rows < keys ? first_row + rows : keys;
    for (size_t key = 0; key < key_end; key += KEYS) {
        const size_t columns = key_end - key < KEYS ? key_end - key : KEYS;
        ck_product product = {.rows = product_rows, .vectors = (columns + CK_LANES - 1) / CK_LANES,
                              .depth = a->head_width, .a = w->query, .a_row = padded, .a_depth = 1,
                              .b = w->keys + key * padded, .b_depth = CK_LANES, .b_vector = padded * CK_LANES,
                              .c = w->scores, .c_row = SCORE_ROW};
        ck_multiply(&product);
        exponentiate(a, w, &state, head, first_row, rows, key, columns);
        product = (ck_product){.rows = product_rows, .vectors = padded / CK_LANES, .depth = columns,
                               .a = w->scores, .a_row = SCORE_ROW, .a_depth = 1,
                               .b = w->values + key * padded, .b_depth = padded,
                               .b_vector = CK_LANES, .c = w->output, .c_row = padded, .adds = key > 0};
        ck_multiply(&product);
    }
    float logsumexp[STRIP], inverse[STRIP];
    ck_lanes sum = ck_read(state.sum, 0, CK_FLOAT32), maximum = ck_read(state.maximum, 0, CK_FLOAT32);
    ck_write(logsumexp, 0, maximum + ck_log_values(sum), CK_FLOAT32);
    ck_write(inverse, 0, ck_splat(1) / sum, CK_FLOAT32);
    for (size_t i = 0; i < rows; i++) {
        a->logsumexp[head * a->tokens + first_row + i] = logsumexp[i];
        ck_unpack_rows(a->output, (first_token + i) * width + column, width, w->output + i * padded, padded,
                       1, a->head_width, inverse[i], type);
    }
}

CK_INLINE void forward_heads(const ck_attention_arguments *a, const workspace *w, ck_head_range range,
                             const ck_element type) {
    const size_t width = a->heads * a->head_width, stride = 3 * width, tokens = a->tokens;
    for (size_t head = range.begin; head < range.end; head++) {
        const size_t start = head / a->heads * tokens * stride + head % a->heads * a->head_width;
        const size_t keys = ck_key_count(a, head);
        for (size_t row = 0; row < keys; row += CK_LANES) {
            const size_t rows = keys - row < CK_LANES ? keys - row : CK_LANES;
            float *values = w->values + row * w->padded;
            // The keys' rows are only needed until they are a panel: they pass through the values' place.
            ck_pack_rows(values, w->padded, CK_LANES, a->qkv, start + row * stride + width, stride, rows,
                         a->head_width, 1, type);
            ck_pack_panel(w->keys + row * w->padded, values, w->padded);
            ck_pack_rows(values, w->padded, CK_LANES, a->qkv, start + row * stride + 2 * width, stride, rows,
                         a->head_width, 1, type);
        }
        for (size_t row = 0; row < tokens; row += STRIP)
            attend(a, w, head, row, tokens - row < STRIP ? tokens - row : STRIP, keys, type);
    }
}

CK_CLONES
static void forward_body(void *pointer, int thread, int threads) {
    const ck_attention_arguments *a = pointer;
    const ck_head_range range = ck_heads_of(a, thread, threads);
    if (range.begin == range.end) return;
    const workspace w = lay_out(a, thread);
    if (a->element == CK_BFLOAT16) forward_heads(a, &w, range, CK_BFLOAT16);
    else forward_heads(a, &w, range, CK_FLOAT32);
}

void ck_attention(const ck_attention_arguments *arguments) {
#if defined(__x86_64__)
    if (arguments->pairs) return ck_attention_pairs(arguments);
#endif
    ck_team_run(forward_body, (void *)(uintptr_t)arguments);
}
