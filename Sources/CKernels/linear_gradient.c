#include "optimizer.h"
#include "update_rules.h"
#include "weight_copy.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    DEEP = CK_WEIGHT_BLOCK_INPUTS,
    WIDE_MAX = CK_LINEAR_BLOCK_OUTPUTS_MAX,
    ROWS_MAX = CK_LINEAR_ROWS_MAX,
    /// Vectors of sums that a tile holds in registers.
    SUMS = 16,
    TILE = SUMS * CK_LANES,
    /// In place of a `ck_rule_kind`.
    NO_UPDATE = -1,
};

/// A tile whose gradients wait for its update, which runs between the sums of the next tile: divisions and
/// square roots take place beside these.
typedef struct {
    /// CK_BY_MOMENTS, or NO_UPDATE where blocks are updated as a whole.
    int kind;
    ck_rule_values values;
    /// NULL while no tile waits.
    const float *gradient;
    ck_update_place place;
} waiting_tile;

/// What a thread works on, close to it: 84 KiB.
typedef struct {
    /// The output gradients of a block's columns, [rows, block], or of pairs of rows [rows / 2, block, 2].
    union { float line[ROWS_MAX * WIDE_MAX]; uint32_t pair[ROWS_MAX / 2 * WIDE_MAX]; } right;
    /// The inputs of a block's rows, [rows, 16] or [rows / 2, 16, 2].
    union { float line[ROWS_MAX * DEEP]; uint32_t pair[ROWS_MAX / 2 * DEEP]; } left;
    /// The block's gradients, [16, block].
    float block[DEEP * WIDE_MAX];
    waiting_tile waiting;
} __attribute__((aligned(64))) workspace;

/// Columns `first` to `first + wide` of a matrix as floats; columns that it lacks become 0.
CK_INLINE void gather_lines(
    float *panel, const void *matrix, size_t rows, size_t columns, size_t first, size_t wide,
    const ck_element type) {
    for (size_t row = 0; row < rows; row++)
        for (size_t c = 0; c < wide; c += CK_LANES) {
            const size_t at = first + c, some = at < columns ? columns - at : 0;
            ck_write(panel, row * wide + c, ck_read_some(matrix, row * columns + at, some, type), CK_FLOAT32);
        }
}

/// Asks for what the update of elements `first` to `first + count` will read, while their sums are made.
CK_INLINE void prefetch(const ck_linear_gradient_arguments *a, size_t first, size_t count) {
    if (a->weight_gradient) return;
    const float *regions[3] = {a->weight.weight, a->weight.first, a->weight.second};
    for (int r = 0; r < 3; r++)
        for (size_t i = 0; regions[r] && i < count; i += CK_LANES)
            __builtin_prefetch(regions[r] + first + i, 1, 2);
}

/// Updates part `part` of the waiting tile's sixteen; `kind` is a constant.
CK_INLINE void update_waiting(const waiting_tile *t, size_t part, const int kind) {
    if (kind == NO_UPDATE) return;
    ck_update_some(
        &t->values, &t->place, t->gradient, part * CK_LANES, CK_LANES, (ck_rule_kind)kind, 0, 0);
}

/// Lets a tile of gradients wait, at element `place` of the weights.
CK_INLINE void let_wait(
    const ck_linear_gradient_arguments *a, waiting_tile *t, const float *gradient, size_t place) {
    t->gradient = gradient;
    t->place = ck_place_of_update(&a->weight, place);
}

/// SUMS / wide inputs by `wide` vectors of outputs, summed over the rows in ascending order. `kind`, a
/// constant, is the waiting tile's.
CK_INLINE void sum_tile(
    const workspace *w, size_t rows, size_t input, float *tile, const int wide, const int kind) {
    const float *right = w->right.line, *left = w->left.line + input;
    ck_lanes sum[SUMS];
#pragma clang loop unroll(full)
    for (int s = 0; s < SUMS; s++) sum[s] = ck_splat(0);
    for (size_t part = 0, row = 0; part < SUMS; part++) {
        for (const size_t end = rows * (part + 1) / SUMS; row < end; row++) {
            ck_lanes line[4];
#pragma clang loop unroll(full)
            for (int v = 0; v < wide; v++) line[v] = *(const ck_lanes *)(right + v * CK_LANES);
#pragma clang loop unroll(full)
            for (int s = 0; s < SUMS; s++) sum[s] = ck_splat(left[s / wide]) * line[s % wide] + sum[s];
            right += wide * CK_LANES;
            left += DEEP;
        }
        update_waiting(&w->waiting, part, kind);
    }
#pragma clang loop unroll(full)
    for (int s = 0; s < SUMS; s++) *(ck_lanes *)(tile + s * CK_LANES) = sum[s];
}

/// The block's sums; `first` is the block's place in the weights.
CK_INLINE void sum_tiles(
    const ck_linear_gradient_arguments *a, workspace *w, size_t first, float *block, const int wide,
    const int kind) {
    for (size_t t = 0; t < (size_t)wide; t++) {
        float *tile = block + t * TILE;
        prefetch(a, first + t * TILE, TILE);
        const size_t input = t * (size_t)(SUMS / wide);
        if (kind != NO_UPDATE && w->waiting.gradient) sum_tile(w, a->rows, input, tile, wide, kind);
        else sum_tile(w, a->rows, input, tile, wide, NO_UPDATE);
        if (kind != NO_UPDATE) let_wait(a, &w->waiting, tile, first + t * TILE);
    }
}

CK_CLONES
static void gather_right(const ck_linear_gradient_arguments *a, workspace *w, size_t output) {
    if (a->type == CK_BFLOAT16)
        gather_lines(w->right.line, a->output_gradient, a->rows, a->outputs, output, a->block, CK_BFLOAT16);
    else gather_lines(w->right.line, a->output_gradient, a->rows, a->outputs, output, a->block, CK_FLOAT32);
}

CK_CLONES
static void gather_left(const ck_linear_gradient_arguments *a, workspace *w, size_t input) {
    if (a->type == CK_BFLOAT16)
        gather_lines(w->left.line, a->input, a->rows, a->inputs, input, DEEP, CK_BFLOAT16);
    else gather_lines(w->left.line, a->input, a->rows, a->inputs, input, DEEP, CK_FLOAT32);
}

/// Whether tiles are updated one by one: where an update takes long, and sums leave it room.
static int updates_tiles(const ck_linear_gradient_arguments *a) {
    return a->weight.segments && (a->weight.rule == CK_ADAM || a->weight.rule == CK_ADAMW)
        && a->block == 64 && !a->pairs && !a->weight.average && !a->weight.mask;
}

CK_CLONES
static void sum_block(const ck_linear_gradient_arguments *a, workspace *w, size_t first, float *block) {
    if (w->waiting.kind == CK_BY_MOMENTS) sum_tiles(a, w, first, block, 4, CK_BY_MOMENTS);
    else if (a->block == 64) sum_tiles(a, w, first, block, 4, NO_UPDATE);
    else if (a->block == 32) sum_tiles(a, w, first, block, 2, NO_UPDATE);
    else sum_tiles(a, w, first, block, 1, NO_UPDATE);
}

/// Columns as in `gather_lines`, of a row in the low halves and of the next one in the high halves.
CK_INLINE void gather_pairs(
    uint32_t *panel, const uint16_t *matrix, size_t rows, size_t columns, size_t first, size_t wide) {
    for (size_t row = 0; row < rows; row += 2)
        for (size_t c = 0; c < wide; c += CK_LANES) {
            const size_t at = first + c, some = at < columns ? columns - at : 0;
            const uint16_t *line = matrix + row * columns + at;
            // Widened to float32, a bfloat16 number is its own high half.
            const ck_bit_lanes even =
                __builtin_bit_cast(ck_bit_lanes, ck_read_some(line, 0, some, CK_BFLOAT16));
            ck_bit_lanes odd = 0;
            if (row + 1 < rows)
                odd = __builtin_bit_cast(ck_bit_lanes, ck_read_some(line, columns, some, CK_BFLOAT16));
            const ck_bit_lanes pair = even >> 16 | odd;
            __builtin_memcpy(panel + row / 2 * wide + c, &pair, sizeof pair);
        }
}

CK_CLONES
static void gather_right_pairs(const ck_linear_gradient_arguments *a, workspace *w, size_t output) {
    gather_pairs(w->right.pair, a->output_gradient, a->rows, a->outputs, output, a->block);
}

CK_CLONES
static void gather_left_pairs(const ck_linear_gradient_arguments *a, workspace *w, size_t input) {
    gather_pairs(w->left.pair, a->input, a->rows, a->inputs, input, DEEP);
}

#if defined(__x86_64__)
#define PAIRS __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

/// As `sum_tile`, two rows at a time.
PAIRS static inline __attribute__((always_inline)) void sum_pair_tile(
    const workspace *w, size_t rows, size_t input, float *tile, const int wide) {
    const uint32_t *right = w->right.pair, *left = w->left.pair + input;
    __m512 sum[SUMS];
#pragma clang loop unroll(full)
    for (int s = 0; s < SUMS; s++) sum[s] = _mm512_setzero_ps();
    for (size_t row = 0; row < rows; row += 2, right += wide * CK_LANES, left += DEEP) {
        __m512i line[4];
#pragma clang loop unroll(full)
        for (int v = 0; v < wide; v++) line[v] = _mm512_load_si512(right + v * CK_LANES);
#pragma clang loop unroll(full)
        for (int s = 0; s < SUMS; s++) {
            const __m512i factor = _mm512_set1_epi32((int)left[s / wide]);
            sum[s] = _mm512_dpbf16_ps(sum[s], (__m512bh)factor, (__m512bh)line[s % wide]);
        }
    }
#pragma clang loop unroll(full)
    for (int s = 0; s < SUMS; s++) _mm512_store_ps(tile + s * CK_LANES, sum[s]);
}

/// As `sum_tiles`.
PAIRS static inline __attribute__((always_inline)) void sum_pair_tiles(
    const ck_linear_gradient_arguments *a, workspace *w, size_t first, float *block, const int wide) {
    for (size_t t = 0; t < (size_t)wide; t++) {
        prefetch(a, first + t * TILE, TILE);
        sum_pair_tile(w, a->rows, t * (size_t)(SUMS / wide), block + t * TILE, wide);
    }
}

PAIRS static void sum_pair_block(
    const ck_linear_gradient_arguments *a, workspace *w, size_t first, float *block) {
    if (a->block == 64) sum_pair_tiles(a, w, first, block, 4);
    else if (a->block == 32) sum_pair_tiles(a, w, first, block, 2);
    else sum_pair_tiles(a, w, first, block, 1);
}

int ck_linear_gradient_multiplies_bfloat16(void) { return __builtin_cpu_supports("avx512bf16") != 0; }
#else
static void sum_pair_block(
    const ck_linear_gradient_arguments *a, workspace *w, size_t first, float *block) {
    sum_block(a, w, first, block);
}

int ck_linear_gradient_multiplies_bfloat16(void) { return 0; }
#endif

/// Sums of the columns of a block.
CK_INLINE void sum_columns(
    const ck_linear_gradient_arguments *a, size_t output, size_t wide, float *sums, const ck_element type) {
    for (size_t c = 0; c < wide; c += CK_LANES) {
        ck_lanes sum = ck_splat(0);
        for (size_t row = 0; row < a->rows; row++)
            sum += ck_read_some(a->output_gradient, row * a->outputs + output + c, wide - c, type);
        ck_write(sums, c, sum, CK_FLOAT32);
    }
}

CK_CLONES
static void finish_bias(const ck_linear_gradient_arguments *a, size_t output) {
    float sums[WIDE_MAX];
    const size_t left = a->outputs - output, wide = left < a->block ? left : a->block;
    if (a->type == CK_BFLOAT16) sum_columns(a, output, wide, sums, CK_BFLOAT16);
    else sum_columns(a, output, wide, sums, CK_FLOAT32);
    if (a->bias_gradient) __builtin_memcpy(a->bias_gradient + output, sums, wide * sizeof(float));
    if (a->bias.segments) ck_update_part(&a->bias, sums, output, wide);
}

CK_CLONES
static void copy_block(const float *weights, uint16_t *copy, size_t block) {
    ck_copy_block(weights, copy, block);
}

/// What follows block `b` once its weights are updated.
static void finish_block(const ck_linear_gradient_arguments *a, size_t b) {
    const size_t first = b * DEEP * a->block;
    if (a->copy) copy_block(a->weight.weight + first, a->copy + first, a->block);
}

/// Updates the tile that waits still, the last of block `b`.
static void update_last(const ck_linear_gradient_arguments *a, waiting_tile *t, size_t b) {
    const size_t end = (b + 1) * DEEP * a->block;
    ck_update_part(&a->weight, t->gradient, end - TILE, TILE);
    t->gradient = NULL;
}

/// Blocks `begin` to `end` in the weights' order.
static void blocks(const void *pointer, size_t begin, size_t end) {
    const ck_linear_gradient_arguments *a = pointer;
    workspace w;
    w.waiting = (waiting_tile){.kind = NO_UPDATE};
    if (updates_tiles(a)) {
        w.waiting.kind = CK_BY_MOMENTS;
        w.waiting.values = ck_values_of_rule(&a->weight, a->weight.segments);
    }
    const size_t across = (a->inputs + DEEP - 1) / DEEP, count = DEEP * a->block;
    for (size_t b = begin; b < end; b++) {
        const size_t output = b / across * a->block, input = b % across * DEEP, first = b * count;
        if (b == begin || input == 0) {
            if (a->pairs) gather_right_pairs(a, &w, output);
            else gather_right(a, &w, output);
        }
        if (input == 0 && (a->bias_gradient || a->bias.segments)) finish_bias(a, output);
        float *block = a->weight_gradient ? a->weight_gradient + first : w.block;
        if (a->pairs) {
            gather_left_pairs(a, &w, input);
            sum_pair_block(a, &w, first, block);
        } else {
            gather_left(a, &w, input);
            sum_block(a, &w, first, block);
        }
        if (w.waiting.kind == NO_UPDATE) {
            if (a->weight.segments) ck_update_part(&a->weight, w.block, first, count);
            finish_block(a, b);
        } else {
            // The block before: its last tile was updated between this one's first sums.
            if (b > begin) finish_block(a, b - 1);
            if (b + 1 < end) continue;
            update_last(a, &w.waiting, b);
            finish_block(a, b);
        }
    }
}

void ck_linear_gradient(const ck_linear_gradient_arguments *arguments) {
    const ck_linear_gradient_arguments *a = arguments;
    const size_t down = (a->outputs + a->block - 1) / a->block, across = (a->inputs + DEEP - 1) / DEEP;
    ck_for_units(blocks, a, down * across, DEEP * a->block * (1 + a->rows / 16));
}
