#include "weight_copy.h"

enum { DEEP = CK_WEIGHT_BLOCK_INPUTS };

CK_CLONES
static void copy_blocks(const void *pointer, size_t begin, size_t end) {
    const ck_copy_weights_arguments *a = pointer;
    const size_t count = DEEP * a->block;
    for (size_t b = begin; b < end; b++)
        ck_copy_block(a->weights + b * count, a->copy + b * count, a->block);
}

void ck_copy_weights(const ck_copy_weights_arguments *arguments) {
    ck_for_units(copy_blocks, arguments, arguments->count, DEEP * arguments->block);
}

/// The 16 columns from `column` on of a row; 0 where the matrix has none. Asks for those further on, since a
/// block has more rows than the processor follows by itself.
CK_INLINE ck_lanes read_line(const ck_pack_weights_arguments *a, size_t row, size_t column) {
    if (row >= a->rows || column >= a->columns) return ck_splat(0);
    __builtin_prefetch(a->weights + row * a->columns + column + 4 * CK_LANES);
    return ck_read_some(a->weights, row * a->columns + column, a->columns - column, CK_FLOAT32);
}

/// A block of `block` columns of 16 rows, whose neighbours are paired.
CK_INLINE void pack_columns(const ck_pack_weights_arguments *a, size_t column, size_t row, uint16_t *copy) {
    for (size_t line = 0; line < DEEP; line += 2)
        for (size_t c = 0; c < a->block; c += CK_LANES)
            ck_write_pairs(
                copy + line * a->block + 2 * c, read_line(a, row + line, column + c),
                read_line(a, row + line + 1, column + c));
}

/// A block of `block` rows of 16 columns, whose neighbours are paired.
CK_INLINE void pack_rows(const ck_pack_weights_arguments *a, size_t row, size_t column, uint16_t *copy) {
    for (size_t r = 0; r < a->block; r += CK_LANES) {
        ck_lanes lines[CK_LANES];
#pragma clang loop unroll(full)
        for (size_t i = 0; i < CK_LANES; i++) lines[i] = read_line(a, row + r + i, column);
        ck_transpose_lanes(lines);
#pragma clang loop unroll(full)
        for (size_t i = 0; i < DEEP; i += 2)
            ck_write_pairs(copy + i * a->block + 2 * r, lines[i], lines[i + 1]);
    }
}

CK_CLONES
static void pack_blocks(const void *pointer, size_t begin, size_t end) {
    const ck_pack_weights_arguments *a = pointer;
    const size_t across = ((a->is_turned ? a->rows : a->columns) + DEEP - 1) / DEEP;
    for (size_t b = begin; b < end; b++) {
        const size_t first = b / across * a->block, second = b % across * DEEP;
        uint16_t *copy = a->copy + b * DEEP * a->block;
        if (a->is_turned) pack_columns(a, first, second, copy);
        else pack_rows(a, first, second, copy);
    }
}

void ck_pack_weights(const ck_pack_weights_arguments *arguments) {
    const ck_pack_weights_arguments *a = arguments;
    const size_t outer = a->is_turned ? a->columns : a->rows, inner = a->is_turned ? a->rows : a->columns;
    const size_t count = (outer + a->block - 1) / a->block * ((inner + DEEP - 1) / DEEP);
    ck_for_units(pack_blocks, a, count, DEEP * a->block);
}

/// Sixteen inputs of sixteen outputs turned; inputs that lie beyond the blocks are 0.
CK_INLINE void turn_square(
    const ck_turn_weights_arguments *a, size_t input, size_t output, float *turned, size_t inputs) {
    const float *from = a->weights + output / a->block * a->block * inputs + output % a->block;
    ck_lanes lines[CK_LANES];
#pragma clang loop unroll(full)
    for (size_t i = 0; i < CK_LANES; i++)
        lines[i] = input < inputs ? ck_read(from, (input + i) * a->block, CK_FLOAT32) : ck_splat(0);
    ck_transpose_lanes(lines);
#pragma clang loop unroll(full)
    for (size_t i = 0; i < CK_LANES; i++) ck_write(turned, i * a->turned_block, lines[i], CK_FLOAT32);
}

CK_CLONES
static void turn_blocks(const void *pointer, size_t begin, size_t end) {
    const ck_turn_weights_arguments *a = pointer;
    const size_t across = (a->outputs + DEEP - 1) / DEEP, inputs = ck_round_up(a->inputs, DEEP);
    for (size_t b = begin; b < end; b++) {
        const size_t first = b / across * a->turned_block, output = b % across * DEEP;
        float *turned = a->turned + b * DEEP * a->turned_block;
        for (size_t i = 0; i < a->turned_block; i += CK_LANES)
            turn_square(a, first + i, output, turned + i, inputs);
    }
}

void ck_turn_weights(const ck_turn_weights_arguments *a) {
    const size_t down = (a->inputs + a->turned_block - 1) / a->turned_block;
    ck_for_units(turn_blocks, a, down * ((a->outputs + DEEP - 1) / DEEP), DEEP * a->turned_block);
}
