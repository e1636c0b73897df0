#include "lane_values.h"

/// Columns whose sums are held at once: 2 KiB of doubles.
enum { TILE = 256 };

CK_CLONES
static void merge_rows(const void *pointer, size_t begin, size_t end) {
    const ck_low_rank_merge_arguments *a = pointer;
    for (size_t row = begin; row < end; row++) {
        const float *up = a->up + row * a->rank;
        float *weight = a->weight + row * a->inputs;
        for (size_t first = 0; first < a->inputs; first += TILE) {
            const size_t width = a->inputs - first < TILE ? a->inputs - first : TILE;
            double sums[TILE] = {0};
            for (size_t r = 0; r < a->rank; r++) {
                const float *down = a->down + r * a->inputs + first;
                const double factor = up[r];
                for (size_t i = 0; i < width; i++) sums[i] += factor * down[i];
            }
            for (size_t i = 0; i < width; i++)
                weight[first + i] = (float)(weight[first + i] + a->factor * sums[i]);
        }
    }
}

void ck_low_rank_merge(const ck_low_rank_merge_arguments *arguments) {
    ck_for_units(merge_rows, arguments, arguments->outputs, arguments->inputs * arguments->rank);
}

/// Two vectors of columns and eight features are 16 sums, which AVX-512's registers hold.
enum { THIN_VECTORS = 2, THIN_COLUMNS = THIN_VECTORS * CK_LANES, THIN_FEATURES = 8 };

/// `features` of the thin side from `feature` on, and the columns from `column` on.
CK_INLINE void thin_tile(
    const ck_thin_weights_arguments *a, size_t column, size_t feature, const int features,
    const ck_element type) {
    const size_t left = a->wide_count - column;
    ck_lanes sums[THIN_FEATURES][THIN_VECTORS];
    for (int f = 0; f < features; f++)
        for (int v = 0; v < THIN_VECTORS; v++) sums[f][v] = ck_splat(0);
    for (size_t row = 0; row < a->rows; row++) {
        const size_t place = row * a->wide_count + column, factors = row * a->thin_count + feature;
        ck_lanes line[THIN_VECTORS];
        for (int v = 0; v < THIN_VECTORS; v++) {
            const size_t skipped = (size_t)v * CK_LANES;
            line[v] = left >= skipped + CK_LANES ? ck_read(a->wide, place + skipped, type)
                : left > skipped ? ck_read_some(a->wide, place + skipped, left - skipped, type)
                                 : ck_splat(0);
        }
        for (int f = 0; f < features; f++) {
            const ck_lanes factor = ck_splat(ck_load(a->thin, factors + (size_t)f, type));
            for (int v = 0; v < THIN_VECTORS; v++) sums[f][v] = factor * line[v] + sums[f][v];
        }
    }
    for (int f = 0; f < features; f++) {
        for (int v = 0; v < THIN_VECTORS; v++) {
            size_t c = column + (size_t)v * CK_LANES;
            for (size_t i = 0; i < CK_LANES && c < a->wide_count; i++, c++) {
                const size_t t = feature + (size_t)f;
                a->result[a->is_turned ? c * a->thin_count + t : t * a->wide_count + c] = sums[f][v][i];
            }
        }
    }
}

CK_INLINE void thin_columns(
    const ck_thin_weights_arguments *a, size_t begin, size_t end, const ck_element type) {
    for (size_t column = begin * THIN_COLUMNS; column < end * THIN_COLUMNS && column < a->wide_count;
         column += THIN_COLUMNS) {
        size_t feature = 0;
        for (; feature + 8 <= a->thin_count; feature += 8) thin_tile(a, column, feature, 8, type);
        for (; feature + 4 <= a->thin_count; feature += 4) thin_tile(a, column, feature, 4, type);
        for (; feature < a->thin_count; feature++) thin_tile(a, column, feature, 1, type);
    }
}

CK_CLONES
static void thin_range(const void *pointer, size_t begin, size_t end) {
    const ck_thin_weights_arguments *a = pointer;
    if (a->element == CK_BFLOAT16) thin_columns(a, begin, end, CK_BFLOAT16);
    else thin_columns(a, begin, end, CK_FLOAT32);
}

void ck_thin_weights(const ck_thin_weights_arguments *arguments) {
    const size_t tiles = (arguments->wide_count + THIN_COLUMNS - 1) / THIN_COLUMNS;
    ck_for_units(thin_range, arguments, tiles, THIN_COLUMNS * arguments->rows);
}
