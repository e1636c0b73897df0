#include "internal.h"

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
