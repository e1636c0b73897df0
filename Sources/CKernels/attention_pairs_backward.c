#if defined(__x86_64__)
#include "attention_pairs.h"

/// Blocks of at most ROWS queries by KEYS keys: their probabilities and gradients stay in the second-level
/// cache.
enum { STRIP = CK_ATTENTION_STRIP, ROWS = 96, KEYS = 128 };
enum { SCORE_ROW = KEYS + CK_LANES, WORD_ROW = SCORE_ROW / 2 };

size_t ck_attention_pairs_backward_scratch_count(size_t tokens, size_t head_width) {
    const size_t rows = ck_round_up(tokens, STRIP), padded = ck_round_up(head_width, CK_LANES);
    const size_t pairs = ck_round_up(head_width / 2, CK_LANES);
    return rows * (2 * padded + 1) + KEYS * (2 * pairs + padded / 2 + 2 * padded) +
           STRIP * (2 * SCORE_ROW + WORD_ROW) + ROWS * SCORE_ROW;
}

/// A thread's scratch, in words. Of all the head's tokens (rounded up to whole strips):
typedef struct {
    /// Pairs of rows [tokens / 2, padded].
    uint32_t *query;
    uint32_t *output_gradient;
    /// [tokens, padded], not yet scaled.
    float *query_gradient;
    /// [tokens]: output_gradient . output.
    float *overlap;
    // Of one block of keys, as pairs of rows [KEYS / 2, padded], and as panels
    // [KEYS / 16][head_width / 2][16]:
    uint32_t *keys;
    uint32_t *key_panels;
    uint32_t *value_panels;
    /// [KEYS, padded], that of the keys not yet scaled.
    float *key_gradient;
    float *value_gradient;
    // Of one strip of scores, [STRIP, SCORE_ROW]:
    float *scores;
    /// Of the probabilities.
    float *gradients;
    /// Gradients of the scores, [STRIP, WORD_ROW].
    uint32_t *changes;
    // Of one block of scores, pairs of rows [ROWS / 2, SCORE_ROW]:
    uint32_t *probabilities;
    uint32_t *change_pairs;
    size_t padded;
    size_t pairs;
} workspace;

static workspace lay_out(const ck_attention_arguments *a, int thread) {
    const size_t rows = ck_round_up(a->tokens, STRIP), padded = ck_round_up(a->head_width, CK_LANES);
    const size_t panel_pairs = ck_round_up(a->head_width / 2, CK_LANES);
    workspace w = {.padded = padded, .pairs = a->head_width / 2};
    w.query_gradient = a->scratch +
        (size_t)thread * ck_attention_pairs_backward_scratch_count(a->tokens, a->head_width);
    w.overlap = w.query_gradient + rows * padded;
    w.key_gradient = w.overlap + rows;
    w.value_gradient = w.key_gradient + KEYS * padded;
    w.scores = w.value_gradient + KEYS * padded;
    w.gradients = w.scores + STRIP * SCORE_ROW;
    w.query = (uint32_t *)(w.gradients + STRIP * SCORE_ROW);
    w.output_gradient = w.query + rows / 2 * padded;
    w.keys = w.output_gradient + rows / 2 * padded;
    w.key_panels = w.keys + KEYS / 2 * padded;
    w.value_panels = w.key_panels + KEYS * panel_pairs;
    w.changes = w.value_panels + KEYS * panel_pairs;
    w.probabilities = w.changes + STRIP * WORD_ROW;
    w.change_pairs = w.probabilities + ROWS / 2 * SCORE_ROW;
    return w;
}

/// Packs the queries and the output's gradient; overlap_i = sum over d of output_gradient_i,d output_i,d,
/// which equals the sum over the keys of probability times its gradient.
CK_INLINE void pack_queries(const ck_attention_arguments *a, const workspace *w, ck_head_place at) {
    const uint16_t *output = (const uint16_t *)a->output + at.output;
    const uint16_t *gradient = (const uint16_t *)a->output_gradient + at.output;
    ck_pack_row_pairs(w->query, w->padded, (const uint16_t *)a->qkv + at.query, at.query_stride, a->tokens,
                      a->head_width);
    ck_pack_row_pairs(w->output_gradient, w->padded, gradient, at.output_stride, a->tokens, a->head_width);
    for (size_t first = 0; first < a->tokens; first += CK_LANES) {
        ck_lanes sums[CK_LANES];
        for (size_t i = 0; i < CK_LANES; i++) {
            sums[i] = ck_splat(0);
            if (first + i >= a->tokens) continue;
            const size_t start = (first + i) * at.output_stride;
            for (size_t d = 0; d < w->pairs; d += CK_LANES)
                sums[i] = ck_add_pairs(sums[i], ck_read_words(gradient + start + 2 * d, w->pairs - d),
                                       ck_read_words(output + start + 2 * d, w->pairs - d));
        }
        ck_write(w->overlap, first, ck_sum_rows(sums), CK_FLOAT32);
    }
}

/// What one row's scores are turned into probabilities by.
typedef struct {
    /// 2^(factor score - logarithm)
    ck_lanes factor;
    ck_lanes logarithm;
    ck_lanes overlap;
    size_t limit;
} row_terms;

CK_INLINE row_terms terms_of(const ck_attention_arguments *a, const workspace *w, size_t head,
                                    size_t row, size_t key, size_t columns) {
    return (row_terms){
        .factor = ck_splat(a->scale * 1.44269504f),
        .logarithm = ck_splat(a->logsumexp[head * a->tokens + row] * 1.44269504f),
        .overlap = ck_splat(w->overlap[row]),
        .limit = ck_visible_keys(a, row, key, columns),
    };
}

/// p = exp(score - logsumexp), the dropped p' as the forward pass had it, and
/// gradient of score = p' (gradient of p') - p overlap; 0 in columns that are masked or beyond the keys.
CK_INLINE void differentiate(const row_terms *row, const float *score, const float *gradient,
                                    const float *kept, size_t column, ck_lanes *probability,
                                    ck_lanes *change) {
    ck_lanes power = ck_read(score, column, CK_FLOAT32) * row->factor - row->logarithm;
    // A probability is at most 1, however large the scores are. The second operand stays where it is NaN.
    power = (ck_lanes)_mm512_min_ps((__m512)ck_splat(0), (__m512)power);
    ck_lanes p = ck_short_exp2(power), g = ck_read(gradient, column, CK_FLOAT32), used = p;
    if (kept) {
        const ck_lanes factor = ck_read(kept, column, CK_FLOAT32);
        g *= factor;
        used *= factor;
    }
    g = p * (g - row->overlap);
    if (column + CK_LANES > row->limit) {
        const int32_t count = (int32_t)row->limit - (int32_t)column;
        g = ck_keep_first(g, count, ck_splat(0));
        used = ck_keep_first(used, count, ck_splat(0));
    }
    *probability = used;
    *change = g;
}

/// Rows `line` and `line + 1` of a strip, `strip` rows long, that begins at `first_row`.
CK_INLINE void differentiate_pair(const ck_attention_arguments *a, const workspace *w, size_t head,
                                         size_t first_row, size_t line, size_t strip, size_t key,
                                         size_t columns, uint32_t *probabilities, uint32_t *change_pairs,
                                         const int drops) {
    const size_t row = first_row + line, vectors = (columns + CK_LANES - 1) / CK_LANES;
    const int has_second = line + 1 < strip;
    const row_terms first = terms_of(a, w, head, row, key, columns);
    const row_terms second = has_second ? terms_of(a, w, head, row + 1, key, columns) : first;
    const float *score = w->scores + line * SCORE_ROW, *gradient = w->gradients + line * SCORE_ROW;
    uint16_t *changes = (uint16_t *)(w->changes + line * WORD_ROW);
    float kept[2][SCORE_ROW];
    if (drops)
        for (int i = 0; i < 2; i++) {
            for (size_t v = 0; v < vectors; v++) ck_write(kept[i], v * CK_LANES, ck_splat(1), CK_FLOAT32);
            ck_drop_row(kept[i], vectors, head * a->tokens + row + (size_t)i, key, a);
        }
    for (size_t column = 0; column < columns; column += CK_LANES) {
        ck_lanes p[2], g[2];
        differentiate(&first, score, gradient, drops ? kept[0] : NULL, column, &p[0], &g[0]);
        if (has_second)
            differentiate(&second, score + SCORE_ROW, gradient + SCORE_ROW, drops ? kept[1] : NULL, column,
                          &p[1], &g[1]);
        else p[1] = g[1] = ck_splat(0);
        const ck_wide_half_lanes both = ck_round_two(g[0], g[1]);
        __builtin_memcpy(changes + column, &both, sizeof both / 2);
        __builtin_memcpy(changes + 2 * WORD_ROW + column, (const uint16_t *)&both + CK_LANES,
                         sizeof both / 2);
        ck_write_words(change_pairs + column, ck_pair_halves(both));
        ck_write_words(probabilities + column, ck_pair_halves(ck_round_two(p[0], p[1])));
    }
}

/// Scores and their gradients of one block, and its part of the queries' gradient; strip by strip, so that
/// causal attention computes nothing right of the diagonal's strip.
CK_INLINE void recompute(const ck_attention_arguments *a, const workspace *w, ck_head_place at,
                                size_t first_row, size_t rows, size_t key, size_t columns) {
    const size_t padded = w->padded;
    for (size_t line = 0; line < rows; line += STRIP) {
        const size_t strip = rows - line < STRIP ? rows - line : STRIP, row = first_row + line;
        const size_t used = ck_visible_keys(a, row + strip - 1, key, columns);
        ck_pair_product product = {
            .rows = strip, .vectors = (used + CK_LANES - 1) / CK_LANES, .depth = w->pairs,
            .a = (const uint32_t *)a->qkv + (at.query + row * at.query_stride) / 2,
            .a_row = at.query_stride / 2, .a_depth = 1, .b = w->key_panels, .b_depth = CK_LANES,
            .b_vector = w->pairs * CK_LANES, .c = w->scores, .c_row = SCORE_ROW};
        ck_multiply_pairs(&product);
        product.a = (const uint32_t *)a->output_gradient + (at.output + row * at.output_stride) / 2;
        product.a_row = at.output_stride / 2;
        product.b = w->value_panels;
        product.c = w->gradients;
        ck_multiply_pairs(&product);
        for (size_t i = 0; i < strip; i += 2) {
            uint32_t *probabilities = w->probabilities + (line + i) / 2 * SCORE_ROW;
            uint32_t *changes = w->change_pairs + (line + i) / 2 * SCORE_ROW;
            if (a->probability > 0)
                differentiate_pair(a, w, at.head, row, i, strip, key, used, probabilities, changes, 1);
            else differentiate_pair(a, w, at.head, row, i, strip, key, used, probabilities, changes, 0);
        }
        product = (ck_pair_product){
            .rows = strip, .vectors = padded / CK_LANES, .depth = (used + 1) / 2, .a = w->changes,
            .a_row = WORD_ROW, .a_depth = 1, .b = w->keys, .b_depth = padded, .b_vector = CK_LANES,
            .c = w->query_gradient + row * padded, .c_row = padded, .adds = key > 0};
        ck_multiply_pairs(&product);
    }
}

/// The block's part of the keys' and values' gradients: columns of the block times the rows that see them.
CK_INLINE void accumulate(const ck_attention_arguments *a, const workspace *w, size_t first_row,
                                 size_t rows, size_t key, size_t columns) {
    const size_t padded = w->padded;
    for (size_t column = 0; column < columns; column += STRIP) {
        const size_t skipped = a->causal && key + column > first_row ? key + column - first_row : 0;
        if (skipped >= rows) continue;
        ck_pair_product product = {
            .rows = columns - column < STRIP ? columns - column : STRIP, .vectors = padded / CK_LANES,
            .depth = (rows - skipped + 1) / 2, .a = w->change_pairs + skipped / 2 * SCORE_ROW + column,
            .a_row = 1, .a_depth = SCORE_ROW, .b = w->query + (first_row + skipped) / 2 * padded,
            .b_depth = padded, .b_vector = CK_LANES, .c = w->key_gradient + column * padded,
            .c_row = padded, .adds = 1};
        ck_multiply_pairs(&product);
        product.a = w->probabilities + skipped / 2 * SCORE_ROW + column;
        product.b = w->output_gradient + (first_row + skipped) / 2 * padded;
        product.c = w->value_gradient + column * padded;
        ck_multiply_pairs(&product);
    }
}

/// The rows of a block: evenly many in the fewest blocks, whole strips each.
static size_t even_block(size_t rows) {
    const size_t blocks = (rows + ROWS - 1) / ROWS;
    return ck_round_up((rows + blocks - 1) / blocks, STRIP);
}

CK_INLINE void backward_head(const ck_attention_arguments *a, const workspace *w, size_t head) {
    const ck_head_place at = ck_place_of(a, head);
    const size_t width = a->heads * a->head_width, padded = w->padded, keys = ck_key_count(a, head);
    pack_queries(a, w, at);
    for (size_t key = 0; key < keys; key += KEYS) {
        const size_t columns = keys - key < KEYS ? keys - key : KEYS;
        const size_t start = at.query + key * at.query_stride + width;
        const uint16_t *lines = (const uint16_t *)a->qkv + start;
        ck_pack_row_pairs(w->keys, padded, lines, at.query_stride, columns, a->head_width);
        ck_pack_word_panels(w->key_panels, (const uint32_t *)lines, at.query_stride / 2, columns, w->pairs);
        ck_pack_word_panels(w->value_panels, (const uint32_t *)(lines + width), at.query_stride / 2, columns,
                            w->pairs);
        for (size_t i = 0; i < columns * padded; i += CK_LANES) {
            ck_write(w->key_gradient, i, ck_splat(0), CK_FLOAT32);
            ck_write(w->value_gradient, i, ck_splat(0), CK_FLOAT32);
        }
        const size_t first = a->causal ? key : 0, block = even_block(a->tokens - first);
        for (size_t row = first; row < a->tokens; row += block) {
            const size_t rows = a->tokens - row < block ? a->tokens - row : block;
            recompute(a, w, at, row, rows, key, columns);
            accumulate(a, w, row, rows, key, columns);
        }
        ck_unpack_rows(a->qkv_gradient, start, at.query_stride, w->key_gradient, padded, columns,
                       a->head_width, a->scale, CK_BFLOAT16);
        ck_unpack_rows(a->qkv_gradient, start + width, at.query_stride, w->value_gradient, padded, columns,
                       a->head_width, 1, CK_BFLOAT16);
    }
    ck_clear_keys(a, at.query, keys, CK_BFLOAT16);
    ck_unpack_rows(a->qkv_gradient, at.query, at.query_stride, w->query_gradient, padded, a->tokens,
                   a->head_width, a->scale, CK_BFLOAT16);
}

static void backward_body(void *pointer, int thread, int threads) {
    const ck_attention_arguments *a = pointer;
    const ck_head_range range = ck_heads_of(a, thread, threads);
    if (range.begin == range.end) return;
    const workspace w = lay_out(a, thread);
    for (size_t head = range.begin; head < range.end; head++) backward_head(a, &w, head);
}

void ck_attention_pairs_backward(const ck_attention_arguments *arguments) {
    ck_team_run(backward_body, (void *)(uintptr_t)arguments);
}

CK_PAIRS_END
#endif
