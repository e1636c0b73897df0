#include "attention.h"

/// Blocks of ROWS queries by KEYS keys: their probabilities and gradients stay in the second-level cache.
enum { STRIP = CK_ATTENTION_STRIP, ROWS = 64, KEYS = 128, SCORE_ROW = KEYS + CK_LANES };

/// A thread's scratch. Of all the head's tokens (rounded up to whole strips):
typedef struct {
    /// [tokens, padded], scaled by 1 / sqrt(head_width).
    float *query;
    /// [tokens, padded].
    float *output_gradient;
    /// [tokens, padded], not yet scaled.
    float *query_gradient;
    /// [tokens]: output_gradient . output.
    float *overlap;
    // Of one block of keys, as rows [KEYS, padded] and as panels [KEYS / 16][padded][16]:
    float *keys;
    float *key_panels;
    float *value_panels;
    float *key_gradient;
    float *value_gradient;
    // Of one block of scores, [ROWS, SCORE_ROW]:
    /// Scores, then probabilities.
    float *scores;
    /// Gradients of the probabilities, then of the scores.
    float *gradients;
    size_t padded;
} workspace;

static size_t padded_rows(size_t tokens) { return ck_round_up(tokens, STRIP); }

size_t ck_attention_backward_scratch_count(size_t tokens, size_t head_width, int32_t pairs) {
#if defined(__x86_64__)
    if (pairs) return ck_attention_pairs_backward_scratch_count(tokens, head_width);
#endif
    (void)pairs;
    const size_t padded = ck_round_up(head_width, CK_LANES);
    return padded_rows(tokens) * (3 * padded + 1) + 5 * KEYS * padded + 2 * ROWS * SCORE_ROW;
}

static workspace lay_out(const ck_attention_arguments *a, int thread) {
    const size_t padded = ck_round_up(a->head_width, CK_LANES), rows = padded_rows(a->tokens);
    workspace w = {.padded = padded};
    w.query =
        a->scratch + (size_t)thread * ck_attention_backward_scratch_count(a->tokens, a->head_width, 0);
    w.output_gradient = w.query + rows * padded;
    w.query_gradient = w.output_gradient + rows * padded;
    w.overlap = w.query_gradient + rows * padded;
    w.keys = w.overlap + rows;
    w.key_panels = w.keys + KEYS * padded;
    w.value_panels = w.key_panels + KEYS * padded;
    w.key_gradient = w.value_panels + KEYS * padded;
    w.value_gradient = w.key_gradient + KEYS * padded;
    w.scores = w.value_gradient + KEYS * padded;
    w.gradients = w.scores + ROWS * SCORE_ROW;
    return w;
}

/// Packs the queries and the output's gradient; overlap_i = sum over d of output_gradient_i,d output_i,d,
/// which equals the sum over the keys of probability times its gradient.
CK_INLINE void pack_queries(const ck_attention_arguments *a, const workspace *w, ck_head_place at,
                            const ck_element type) {
    const size_t rows = padded_rows(a->tokens), padded = w->padded,
        whole = a->head_width / CK_LANES * CK_LANES;
    ck_pack_rows(w->query, padded, rows, a->qkv, at.query, at.query_stride, a->tokens, a->head_width,
                 a->scale, type);
    ck_pack_rows(w->output_gradient, padded, rows, a->output_gradient, at.output, at.output_stride, a->tokens,
                 a->head_width, 1, type);
    for (size_t first = 0; first < a->tokens; first += CK_LANES) {
        ck_lanes sums[CK_LANES];
        for (size_t i = 0; i < CK_LANES; i++) {
            const size_t row = first + i;
            sums[i] = ck_splat(0);
            if (row >= a->tokens) continue;
            const float *gradient = w->output_gradient + row * padded;
            const size_t start = at.output + row * at.output_stride;
            for (size_t d = 0; d < whole; d += CK_LANES)
                sums[i] += ck_read(gradient, d, CK_FLOAT32) * ck_read(a->output, start + d, type);
            if (whole < padded)
                sums[i] += ck_read(gradient, whole, CK_FLOAT32) *
                           ck_read_some(a->output, start + whole, a->head_width - whole, type);
        }
        ck_write(w->overlap, first, ck_sum_rows(sums), CK_FLOAT32);
    }
}

CK_INLINE void pack_keys(const ck_attention_arguments *a, const workspace *w, ck_head_place at, size_t key,
                         size_t columns, const ck_element type) {
    const size_t width = a->heads * a->head_width, padded = w->padded;
    for (size_t row = 0; row < columns; row += CK_LANES) {
        const size_t rows = columns - row < CK_LANES ? columns - row : CK_LANES;
        const size_t start = at.query + (key + row) * at.query_stride;
        float *line = w->keys + row * padded;
        // The values' rows are only needed until they are a panel: they pass through the keys' place.
        ck_pack_rows(line, padded, CK_LANES, a->qkv, start + 2 * width, at.query_stride, rows, a->head_width,
                     1, type);
        ck_pack_panel(w->value_panels + row * padded, line, padded);
        ck_pack_rows(line, padded, CK_LANES, a->qkv, start + width, at.query_stride, rows, a->head_width, 1,
            type);
        ck_pack_panel(w->key_panels + row * padded, line, padded);
    }
}

/// p = exp(score - logsumexp), the dropped p' as the forward pass had it, and
/// gradient of score = p' (gradient of p') - p overlap; 0 in columns that are masked or beyond the keys.
CK_INLINE void differentiate(const ck_attention_arguments *a, const workspace *w, size_t head,
                             size_t first_row, size_t line, size_t rows, size_t key, size_t columns) {
    for (size_t i = line; i < line + rows; i++) {
        const size_t row = first_row + i, limit = ck_visible_keys(a, row, key, columns);
        const size_t vectors = (columns + CK_LANES - 1) / CK_LANES;
        const ck_lanes logsumexp = ck_splat(a->logsumexp[head * a->tokens + row]);
        const ck_lanes overlap = ck_splat(w->overlap[row]);
        float *score = w->scores + i * SCORE_ROW, *gradient = w->gradients + i * SCORE_ROW;
        float kept[SCORE_ROW];
        if (a->probability > 0) {
            for (size_t v = 0; v < vectors; v++) ck_write(kept, v * CK_LANES, ck_splat(1), CK_FLOAT32);
            ck_drop_row(kept, vectors, head * a->tokens + row, key, a);
        }
        for (size_t v = 0; v < vectors; v++) {
            const size_t c = v * CK_LANES;
            ck_lanes p = ck_exp_values(ck_read(score, c, CK_FLOAT32) - logsumexp);
            ck_lanes g = ck_read(gradient, c, CK_FLOAT32), used = p;
            if (a->probability > 0) {
                ck_lanes factor = ck_read(kept, c, CK_FLOAT32);
                g *= factor;
                used *= factor;
            }
            g = p * (g - overlap);
            if (c + CK_LANES > limit) {
                g = ck_keep_first(g, (int32_t)limit - (int32_t)c, ck_splat(0));
                used = ck_keep_first(used, (int32_t)limit - (int32_t)c, ck_splat(0));
            }
            ck_write(score, c, used, CK_FLOAT32);
            ck_write(gradient, c, g, CK_FLOAT32);
        }
    }
}

/// Scores and their gradients of one block, and its part of the queries' gradient; strip by strip, so that
/// causal attention computes nothing right of the diagonal's strip.
CK_INLINE void recompute(const ck_attention_arguments *a, const workspace *w, size_t head, size_t first_row,
                         size_t rows, size_t key, size_t columns) {
    const size_t padded = w->padded;
    for (size_t line = 0; line < rows; line += STRIP) {
        const size_t strip = rows - line < STRIP ? rows - line : STRIP, row = first_row + line;
        const size_t used = ck_visible_keys(a, row + strip - 1, key, columns);
        const size_t product_rows = ck_round_up(strip, CK_PRODUCT_ROWS),
            vectors = (used + CK_LANES - 1) / CK_LANES;
        ck_product product = {.rows = product_rows, .vectors = vectors, .depth = a->head_width,
                              .a = w->query + row * padded, .a_row = padded, .a_depth = 1, .b = w->key_panels,
                              .b_depth = CK_LANES, .b_vector = padded * CK_LANES,
                              .c = w->scores + line * SCORE_ROW, .c_row = SCORE_ROW};
        ck_multiply(&product);
        product.a = w->output_gradient + row * padded;
        product.b = w->value_panels;
        product.c = w->gradients + line * SCORE_ROW;
        ck_multiply(&product);
        differentiate(a, w, head, first_row, line, strip, key, used);
        product = (ck_product){.rows = product_rows, .vectors = padded / CK_LANES, .depth = used,
                               .a = w->gradients + line * SCORE_ROW, .a_row = SCORE_ROW, .a_depth = 1,
                               .b = w->keys,
                               .b_depth = padded, .b_vector = CK_LANES, .c = w->query_gradient + row * padded,
                               .c_row = padded, .adds = key > 0};
        ck_multiply(&product);
    }
}

/// The block's part of the keys' and values' gradients: columns of the block times the rows that see them.
CK_INLINE void accumulate(const ck_attention_arguments *a, const workspace *w, size_t first_row, size_t rows,
                          size_t key, size_t columns) {
    const size_t padded = w->padded;
    for (size_t column = 0; column < columns; column += STRIP) {
        const size_t strip = columns - column < STRIP ? columns - column : STRIP;
        const size_t skipped = a->causal && key + column > first_row ? key + column - first_row : 0;
        if (skipped >= rows) continue;
        ck_product product = {.rows = ck_round_up(strip, CK_PRODUCT_ROWS), .vectors = padded / CK_LANES,
                              .depth = rows - skipped, .a = w->gradients + skipped * SCORE_ROW + column,
                              .a_row = 1,
                              .a_depth = SCORE_ROW, .b = w->query + (first_row + skipped) * padded,
                              .b_depth = padded, .b_vector = CK_LANES, .c = w->key_gradient + column * padded,
                              .c_row = padded, .adds = 1};
        ck_multiply(&product);
        product.a = w->scores + skipped * SCORE_ROW + column;
        product.b = w->output_gradient + (first_row + skipped) * padded;
        product.c = w->value_gradient + column * padded;
        ck_multiply(&product);
    }
}

CK_INLINE void backward_head(const ck_attention_arguments *a, const workspace *w, size_t head,
                             const ck_element type) {
    const ck_head_place at = ck_place_of(a, head);
    const size_t width = a->heads * a->head_width, padded = w->padded, keys = ck_key_count(a, head);
    pack_queries(a, w, at, type);
    for (size_t key = 0; key < keys; key += KEYS) {
        const size_t columns = keys - key < KEYS ? keys - key : KEYS;
        pack_keys(a, w, at, key, columns, type);
        for (size_t i = 0; i < KEYS * padded; i += CK_LANES) {
            ck_write(w->key_gradient, i, ck_splat(0), CK_FLOAT32);
            ck_write(w->value_gradient, i, ck_splat(0), CK_FLOAT32);
        }
        // KEYS is a multiple of ROWS: no row of an earlier block sees these keys.
        for (size_t row = a->causal ? key : 0; row < a->tokens; row += ROWS) {
            const size_t rows = a->tokens - row < ROWS ? a->tokens - row : ROWS;
            recompute(a, w, head, row, rows, key, columns);
            accumulate(a, w, row, rows, key, columns);
        }
        const size_t start = at.query + key * at.query_stride;
        ck_unpack_rows(a->qkv_gradient, start + width, at.query_stride, w->key_gradient, padded, columns,
                       a->head_width, 1, type);
        ck_unpack_rows(a->qkv_gradient, start + 2 * width, at.query_stride, w->value_gradient, padded,
                       columns, a->head_width, 1, type);
    }
    ck_clear_keys(a, at.query, keys, type);
    ck_unpack_rows(a->qkv_gradient, at.query, at.query_stride, w->query_gradient, padded, a->tokens,
                   a->head_width, a->scale, type);
}

CK_CLONES
static void backward_body(void *pointer, int thread, int threads) {
    const ck_attention_arguments *a = pointer;
    const ck_head_range range = ck_heads_of(a, thread, threads);
    if (range.begin == range.end) return;
    const workspace w = lay_out(a, thread);
    for (size_t head = range.begin; head < range.end; head++) {
        if (a->element == CK_BFLOAT16) backward_head(a, &w, head, CK_BFLOAT16);
        else backward_head(a, &w, head, CK_FLOAT32);
    }
}

void ck_attention_backward(const ck_attention_arguments *arguments) {
#if defined(__x86_64__)
    if (arguments->pairs) return ck_attention_pairs_backward(arguments);
#endif
    ck_team_run(backward_body, (void *)(uintptr_t)arguments);
}
