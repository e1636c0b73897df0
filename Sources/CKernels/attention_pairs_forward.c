#if defined(__x86_64__)
#include "attention_pairs.h"

/// Keys of one step of the online softmax: a strip of scores and a block of values stay in near caches.
enum { STRIP = CK_ATTENTION_STRIP, KEYS = 256, SCORE_ROW = KEYS + 2 * CK_LANES, WORD_ROW = SCORE_ROW / 2 };

size_t ck_attention_pairs_scratch_count(size_t tokens, size_t head_width) {
    const size_t rows = ck_round_up(tokens, CK_LANES), padded = ck_round_up(head_width, CK_LANES);
    return rows * (head_width / 2 + padded / 2) + STRIP * (SCORE_ROW + WORD_ROW + padded);
}

/// A thread's scratch, in words.
typedef struct {
    /// Panels [tokens / 16][head_width / 2][16].
    uint32_t *keys;
    /// Pairs of rows [tokens / 2, padded].
    uint32_t *values;
    /// [strip, SCORE_ROW].
    float *scores;
    /// [strip, WORD_ROW].
    uint32_t *probabilities;
    /// [strip, padded], not yet divided by the sum of the exponentials.
    float *output;
    size_t padded;
    size_t pairs;
} workspace;

static workspace lay_out(const ck_attention_arguments *a, int thread) {
    const size_t rows = ck_round_up(a->tokens, CK_LANES);
    workspace w = {.padded = ck_round_up(a->head_width, CK_LANES), .pairs = a->head_width / 2};
    float *scratch =
        a->scratch + (size_t)thread * ck_attention_pairs_scratch_count(a->tokens, a->head_width);
    w.keys = (uint32_t *)scratch;
    w.values = w.keys + rows * w.pairs;
    w.probabilities = w.values + rows / 2 * w.padded;
    w.scores = (float *)(w.probabilities + STRIP * WORD_ROW);
    w.output = w.scores + STRIP * SCORE_ROW;
    return w;
}

/// What the online softmax carries from block to block, a lane per row of the strip.
typedef struct {
    float maximum[STRIP];
    float sum[STRIP];
} progress;

/// The largest score of each of `rows` rows, not yet scaled.
CK_INLINE ck_lanes largest(const ck_attention_arguments *a, const workspace *w, size_t first_row,
                                  size_t rows, size_t key, size_t columns) {
    ck_lanes tops[STRIP];
    for (size_t i = 0; i < STRIP; i++) tops[i] = ck_splat(-INFINITY);
    for (size_t i = 0; i < rows; i++) {
        const size_t limit = ck_visible_keys(a, first_row + i, key, columns);
        const float *score = w->scores + i * SCORE_ROW;
        ck_lanes top = ck_splat(-INFINITY);
        for (size_t c = 0; c < limit; c += CK_LANES) {
            ck_lanes value = ck_read(score, c, CK_FLOAT32);
            if (c + CK_LANES > limit)
                value = ck_keep_first(value, (int32_t)(limit - c), ck_splat(-INFINITY));
            top = value > top ? value : top;
        }
        tops[i] = top;
    }
    return ck_max_rows(tops);
}

/// A row of scores becomes probabilities times the sum so far, as pairs; returns what adds to that sum.
CK_INLINE ck_lanes exponentiate_row(const ck_attention_arguments *a, float *score, uint32_t *pairs,
                                           ck_lanes maximum, size_t limit, size_t columns, size_t row,
                                           size_t key, const int drops) {
    const ck_lanes scale = ck_splat(a->scale * 1.44269504f);
    ck_lanes total = ck_splat(0);
    for (size_t c = 0; c < columns; c += 2 * CK_LANES) {
        ck_lanes low = ck_short_exp2((ck_read(score, c, CK_FLOAT32) - maximum) * scale);
        ck_lanes high = ck_short_exp2((ck_read(score, c + CK_LANES, CK_FLOAT32) - maximum) * scale);
        if (c + 2 * CK_LANES > limit) {
            low = ck_keep_first(low, (int32_t)limit - (int32_t)c, ck_splat(0));
            high = ck_keep_first(high, (int32_t)limit - (int32_t)c - CK_LANES, ck_splat(0));
        }
        total += low + high;
        if (drops) {
            ck_write(score, c, low, CK_FLOAT32);
            ck_write(score, c + CK_LANES, high, CK_FLOAT32);
        } else {
            ck_write_words(pairs + c / 2, (ck_bit_lanes)ck_round_two(low, high));
        }
    }
    if (!drops) return total;
    ck_drop_row(score, (columns + CK_LANES - 1) / CK_LANES, row, key, a);
    for (size_t c = 0; c < columns; c += 2 * CK_LANES) {
        const ck_lanes low = ck_read(score, c, CK_FLOAT32), high = ck_read(score, c + CK_LANES, CK_FLOAT32);
        ck_write_words(pairs + c / 2, (ck_bit_lanes)ck_round_two(low, high));
    }
    return total;
}

/// Scores of `columns` keys from `key` on become 2^(scale (score - maximum so far)); masked columns become 0.
CK_INLINE void exponentiate(const ck_attention_arguments *a, const workspace *w, progress *state,
                                   size_t head, size_t first_row, size_t rows, size_t key, size_t columns) {
    const ck_lanes before = ck_read(state->maximum, 0, CK_FLOAT32);
    const ck_lanes here = largest(a, w, first_row, rows, key, columns);
    const ck_lanes now = here > before ? here : before;
    ck_write(state->maximum, 0, now, CK_FLOAT32);
    ck_lanes totals[STRIP];
    for (size_t i = 0; i < STRIP; i++) totals[i] = ck_splat(0);
    for (size_t i = 0; i < rows; i++) {
        const size_t limit = ck_visible_keys(a, first_row + i, key, columns);
        const size_t row = head * a->tokens + first_row + i;
        float *score = w->scores + i * SCORE_ROW;
        uint32_t *pairs = w->probabilities + i * WORD_ROW;
        const ck_lanes maximum = ck_splat(state->maximum[i]);
        totals[i] = a->probability > 0
            ? exponentiate_row(a, score, pairs, maximum, limit, columns, row, key, 1)
            : exponentiate_row(a, score, pairs, maximum, limit, columns, row, key, 0);
    }
    const ck_lanes sum = ck_sum_rows(totals);
    if (key == 0) {
        ck_write(state->sum, 0, sum, CK_FLOAT32);
        return;
    }
    const ck_lanes shrink = ck_short_exp2((before - now) * ck_splat(a->scale * 1.44269504f));
    ck_write(state->sum, 0, ck_read(state->sum, 0, CK_FLOAT32) * shrink + sum, CK_FLOAT32);
    for (size_t i = 0; i < rows; i++) {
        float *output = w->output + i * w->padded;
        for (size_t d = 0; d < w->padded; d += CK_LANES)
            ck_write(output, d, ck_read(output, d, CK_FLOAT32) * ck_splat(shrink[i]), CK_FLOAT32);
    }
}

/// Rows `first_row` to `first_row + rows` of one head: all their keys, in blocks.
CK_INLINE void attend(const ck_attention_arguments *a, const workspace *w, size_t head,
                             size_t first_row, size_t rows, size_t keys) {
    const size_t width = a->heads * a->head_width, column = head % a->heads * a->head_width;
    const size_t first_token = head / a->heads * a->tokens + first_row, padded = w->padded;
    progress state;
    for (size_t i = 0; i < STRIP; i++) state.maximum[i] = -INFINITY, state.sum[i] = 0;
    const size_t key_end = a->causal && first_row + rows < keys ? first_row + rows : keys;
    for (size_t key = 0; key < key_end; key += KEYS) {
        const size_t columns = key_end - key < KEYS ? key_end - key : KEYS;
        ck_pair_product product = {
            .rows = rows, .vectors = (columns + CK_LANES - 1) / CK_LANES, .depth = w->pairs,
            .a = (const uint32_t *)a->qkv + (first_token * 3 * width + column) / 2, .a_row = 3 * width / 2,
            .a_depth = 1, .b = w->keys + key * w->pairs, .b_depth = CK_LANES,
            .b_vector = w->pairs * CK_LANES, .c = w->scores, .c_row = SCORE_ROW};
        ck_multiply_pairs(&product);
        exponentiate(a, w, &state, head, first_row, rows, key, columns);
        product = (ck_pair_product){
            .rows = rows, .vectors = padded / CK_LANES, .depth = (columns + 1) / 2, .a = w->probabilities,
            .a_row = WORD_ROW, .a_depth = 1, .b = w->values + key / 2 * padded, .b_depth = padded,
            .b_vector = CK_LANES, .c = w->output, .c_row = padded, .adds = key > 0};
        ck_multiply_pairs(&product);
    }
    const ck_lanes sum = ck_read(state.sum, 0, CK_FLOAT32);
    const ck_lanes top = ck_read(state.maximum, 0, CK_FLOAT32) * ck_splat(a->scale);
    const ck_lanes logsumexp = top + ck_log_values(sum), inverse = ck_splat(1) / sum;
    for (size_t i = 0; i < rows; i++) {
        a->logsumexp[head * a->tokens + first_row + i] = logsumexp[i];
        ck_unpack_rows(a->output, (first_token + i) * width + column, width, w->output + i * padded, padded,
                       1, a->head_width, inverse[i], CK_BFLOAT16);
    }
}

static void forward_body(void *pointer, int thread, int threads) {
    const ck_attention_arguments *a = pointer;
    const ck_head_range range = ck_heads_of(a, thread, threads);
    if (range.begin == range.end) return;
    const workspace w = lay_out(a, thread);
    const size_t width = a->heads * a->head_width, stride = 3 * width, tokens = a->tokens;
    for (size_t head = range.begin; head < range.end; head++) {
        const size_t keys = ck_key_count(a, head);
        const size_t start = head / a->heads * tokens * stride + head % a->heads * a->head_width;
        const uint16_t *qkv = (const uint16_t *)a->qkv + start;
        ck_pack_word_panels(w.keys, (const uint32_t *)(qkv + width), stride / 2, keys, w.pairs);
        ck_pack_row_pairs(w.values, w.padded, qkv + 2 * width, stride, keys, a->head_width);
        for (size_t row = 0; row < tokens; row += STRIP)
            attend(a, &w, head, row, tokens - row < STRIP ? tokens - row : STRIP, keys);
    }
}

void ck_attention_pairs(const ck_attention_arguments *arguments) {
    ck_team_run(forward_body, (void *)(uintptr_t)arguments);
}

CK_PAIRS_END
#endif
