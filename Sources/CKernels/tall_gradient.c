#include "CKernelsOptimizer.h"
#include "lane_values.h"

enum {
    DEEP = CK_WEIGHT_BLOCK_INPUTS,
    WIDE_MAX = CK_LINEAR_BLOCK_OUTPUTS_MAX,
    /// Rows that are multiplied at a time: a block of gradients, 16 KiB, and one of inputs stay in the
    /// nearest cache. 96 were 3 % slower, 192 6 to 10 %.
    CHUNK = 64,
    /// From so many blocks of outputs on, inputs are gathered in front of them all.
    GATHERED_BLOCKS = 4,
};

/// Floats of one thread's workspace: a chunk of all inputs in blocks of 16, and of one block of gradients.
static size_t workspace_count(size_t inputs) { return CHUNK * (inputs + WIDE_MAX); }

static size_t sums_count(const ck_tall_gradient_arguments *a) { return a->inputs * a->outputs + a->outputs; }

size_t ck_tall_gradient_scratch_count(size_t inputs, size_t outputs, size_t threads) {
    return threads * workspace_count(inputs) + (threads - 1) * (inputs * outputs + outputs);
}

/// What of the next chunk is asked for while this one is multiplied: a column of lines in each tile's turn.
typedef struct {
    /// The next chunk's inputs and gradients; NULL behind the last.
    const float *input, *gradient;
    size_t inputs, outputs;
    /// The next column.
    size_t column;
} upcoming;

/// The next column's first line; NULL when all have been asked for.
CK_INLINE const float *next_column(upcoming *u, size_t *stride) {
    if (!u->input || u->column >= u->inputs + u->outputs) return NULL;
    const size_t column = u->column;
    u->column += CK_LANES;
    *stride = column < u->inputs ? u->inputs : u->outputs;
    return column < u->inputs ? u->input + column : u->gradient + column - u->inputs;
}

/// Copies columns `first` to `first + wide` of `rows` rows to blocks of `block` columns.
CK_INLINE void gather(
    float *panel, const float *matrix, size_t rows, size_t columns, size_t first, size_t wide,
    const size_t block) {
    for (size_t row = 0; row < rows; row++)
        for (size_t c = 0; c < wide; c += block)
            for (size_t lane = 0; lane < block; lane += CK_LANES)
                *(ck_lanes *)(panel + c * CHUNK + row * block + lane) =
                    *(const ck_unaligned_lanes *)(matrix + row * columns + first + c + lane);
}

/// `count` inputs by `wide` vectors of outputs, over a chunk's rows in ascending order.
CK_INLINE void sum_tile(
    const float *left, const float *right, size_t rows, float *sums, const float *ahead, size_t stride,
    size_t left_stride, const int count, const int wide, const int adds) {
    ck_lanes sum[24];
#pragma clang loop unroll(full)
    for (int s = 0; s < count * wide; s++)
        sum[s] = adds ? *(const ck_unaligned_lanes *)(sums + s * CK_LANES) : ck_splat(0);
    for (size_t row = 0; row < rows; row++) {
        ck_lanes line[4];
        if (ahead) __builtin_prefetch(ahead + row * stride, 0, 2);
#pragma clang loop unroll(full)
        for (int v = 0; v < wide; v++) line[v] = *(const ck_lanes *)(right + v * CK_LANES);
#pragma clang loop unroll(full)
        for (int s = 0; s < count * wide; s++) sum[s] = ck_splat(left[s / wide]) * line[s % wide] + sum[s];
        right += wide * CK_LANES;
        left += left_stride;
    }
#pragma clang loop unroll(full)
    for (int s = 0; s < count * wide; s++) *(ck_unaligned_lanes *)(sums + s * CK_LANES) = sum[s];
}

CK_INLINE void sum_tile_ahead(
    const float *left, const float *right, size_t rows, float *sums, upcoming *next, size_t left_stride,
    const int first, const int count, const int wide, const int adds) {
    size_t stride = 0;
    const float *ahead = next_column(next, &stride);
    sums += first * wide * CK_LANES;
    if (ahead) sum_tile(left + first, right, rows, sums, ahead, stride, left_stride, count, wide, adds);
    else sum_tile(left + first, right, rows, sums, NULL, 0, left_stride, count, wide, adds);
}

/// 16 inputs by a block of outputs; at most 24 sums at a time, which AVX-512's 32 registers hold.
CK_INLINE void sum_block(
    const float *left, const float *right, size_t rows, float *sums, upcoming *next, size_t left_stride,
    const int wide, const int adds) {
    if (wide == 4) {
        sum_tile_ahead(left, right, rows, sums, next, left_stride, 0, 6, 4, adds);
        sum_tile_ahead(left, right, rows, sums, next, left_stride, 6, 6, 4, adds);
        sum_tile_ahead(left, right, rows, sums, next, left_stride, 12, 4, 4, adds);
    } else if (wide == 2) {
        sum_tile_ahead(left, right, rows, sums, next, left_stride, 0, 8, 2, adds);
        sum_tile_ahead(left, right, rows, sums, next, left_stride, 8, 8, 2, adds);
    } else {
        sum_tile_ahead(left, right, rows, sums, next, left_stride, 0, DEEP, 1, adds);
    }
}

/// Adds a chunk's rows of gradients up.
CK_INLINE void add_columns(
    const float *panel, size_t rows, float *sums, const int wide, const int adds) {
    ck_lanes sum[4];
#pragma clang loop unroll(full)
    for (int v = 0; v < wide; v++)
        sum[v] = adds ? *(const ck_unaligned_lanes *)(sums + v * CK_LANES) : ck_splat(0);
    for (size_t row = 0; row < rows; row++, panel += wide * CK_LANES)
#pragma clang loop unroll(full)
        for (int v = 0; v < wide; v++) sum[v] += *(const ck_lanes *)(panel + v * CK_LANES);
#pragma clang loop unroll(full)
    for (int v = 0; v < wide; v++) *(ck_unaligned_lanes *)(sums + v * CK_LANES) = sum[v];
}

/// The gradients that rows `begin` to `end` give: those of the weights, and behind them of the bias.
CK_INLINE void sum_chunk(
    const ck_tall_gradient_arguments *a, size_t begin, size_t rows, float *work, float *weights, float *bias,
    upcoming *next, const int wide, const int adds) {
    const size_t block = (size_t)wide * CK_LANES;
    const float *left = a->input + begin * a->inputs;
    float *right = work + CHUNK * a->inputs;
    // From one block of inputs to the next, and from row to row.
    size_t left_step = DEEP, left_stride = a->inputs;
    if (a->outputs >= GATHERED_BLOCKS * block) {
        gather(work, left, rows, a->inputs, 0, a->inputs, DEEP);
        left = work;
        left_step = CHUNK * DEEP;
        left_stride = DEEP;
    }
    for (size_t output = 0; output < a->outputs; output += block) {
        gather(right, a->output_gradient + begin * a->outputs, rows, a->outputs, output, block, block);
        if (bias) add_columns(right, rows, bias + output, wide, adds);
        for (size_t input = 0; input < a->inputs; input += DEEP)
            sum_block(
                left + input / DEEP * left_step, right, rows,
                weights + output * a->inputs + input * block, next, left_stride, wide, adds);
    }
}

CK_INLINE void sum_rows(
    const ck_tall_gradient_arguments *a, size_t begin, size_t end, float *work, float *weights, float *bias,
    const int wide) {
    for (size_t row = begin; row < end; row += CHUNK) {
        const size_t rows = end - row < CHUNK ? end - row : CHUNK;
        upcoming next = {.inputs = a->inputs, .outputs = a->outputs};
        if (row + 2 * CHUNK <= end) {
            next.input = a->input + (row + CHUNK) * a->inputs;
            next.gradient = a->output_gradient + (row + CHUNK) * a->outputs;
        }
        if (row == begin) sum_chunk(a, row, rows, work, weights, bias, &next, wide, 0);
        else sum_chunk(a, row, rows, work, weights, bias, &next, wide, 1);
    }
}

CK_WIDE
static void sum_some(
    const ck_tall_gradient_arguments *a, size_t begin, size_t end, float *work, float *weights, float *bias) {
    if (a->block == 64) sum_rows(a, begin, end, work, weights, bias, 4);
    else if (a->block == 32) sum_rows(a, begin, end, work, weights, bias, 2);
    else sum_rows(a, begin, end, work, weights, bias, 1);
}

/// A thread's sums: the first's lie where the result will, the others' in the scratch.
static float *sums_of(const ck_tall_gradient_arguments *a, size_t thread, size_t threads) {
    return a->scratch + threads * workspace_count(a->inputs) + (thread - 1) * sums_count(a);
}

static void sum_thread(void *pointer, int thread, int threads) {
    const ck_tall_gradient_arguments *a = pointer;
    const size_t own = (size_t)thread, all = (size_t)threads;
    // A thread without rows would leave its sums as they are; there are far more rows than threads.
    const size_t begin = a->rows * own / all, end = a->rows * (own + 1) / all;
    float *weights = a->weight_gradient, *bias = a->bias_gradient;
    if (thread > 0) {
        weights = sums_of(a, own, all);
        if (bias) bias = weights + a->inputs * a->outputs;
    }
    sum_some(a, begin, end, a->scratch + own * workspace_count(a->inputs), weights, bias);
}

/// Adds what the other threads have summed, in their order.
CK_WIDE
static void add_some(float *sums, const float *more, size_t count) {
    CK_INDEPENDENT
    for (size_t i = 0; i < count; i++) sums[i] += more[i];
}

static void add_thread(void *pointer, int thread, int threads) {
    const ck_tall_gradient_arguments *a = pointer;
    const size_t own = (size_t)thread, all = (size_t)threads, count = a->inputs * a->outputs;
    const size_t begin = count / CK_LANES * own / all * CK_LANES;
    const size_t end = count / CK_LANES * (own + 1) / all * CK_LANES;
    for (size_t other = 1; other < all; other++) {
        const float *more = sums_of(a, other, all);
        add_some(a->weight_gradient + begin, more + begin, end - begin);
        if (own == 0 && a->bias_gradient) add_some(a->bias_gradient, more + count, a->outputs);
    }
}

void ck_tall_gradient(const ck_tall_gradient_arguments *arguments) {
    ck_team_run(sum_thread, (void *)arguments);
    if (ck_team_count() > 1) ck_team_run(add_thread, (void *)arguments);
}
