// Convolutions by Toom and Cook's products of polynomials: Lavin and Gray, "Fast algorithms for convolutional
// neural networks" (2015). A tile of `size` x `size` inputs yields `outputs` x `outputs` outputs; both it and
// the kernel are evaluated at `size` x `size` points, where each channel takes one product a point instead of
// one a tap and output.
//
// The points are 0, pairs +p and -p, and infinity. What belongs to a pair differs in the sign of the odd
// powers alone, so that a table has one row for both: row 0 for the point 0, then the pairs, infinity last.
#pragma once
#include "lane_values.h"

enum { CK_TILE_MAX = 8 };

typedef float ck_points[5][CK_TILE_MAX];

/// 4x4 outputs of a 5x5 kernel: points 0, +-1, +-2, +-1/2, infinity.
static const ck_points ck_inputs5 = {
    {-1, 0, 21.0f / 4, 0, -21.0f / 4, 0, 1, 0},
    {0, 1, 1, -17.0f / 4, -17.0f / 4, 1, 1, 0},
    {0, 1.0f / 2, 1.0f / 4, -5.0f / 2, -5.0f / 4, 2, 1, 0},
    {0, 2, 4, -5.0f / 2, -5, 1.0f / 2, 1, 0},
    {0, -1, 0, 21.0f / 4, 0, -21.0f / 4, 0, 1},
};
static const ck_points ck_outputs5 = {
    {1}, {1, 1, 1, 1}, {1, 2, 4, 8}, {1, 1.0f / 2, 1.0f / 4, 1.0f / 8}, {0, 0, 0, 1}};
static const ck_points ck_taps5 = {
    {-1},
    {-2.0f / 9, -2.0f / 9, -2.0f / 9, -2.0f / 9, -2.0f / 9},
    {1.0f / 90, 2.0f / 90, 4.0f / 90, 8.0f / 90, 16.0f / 90},
    {32.0f / 45, 16.0f / 45, 8.0f / 45, 4.0f / 45, 2.0f / 45},
    {0, 0, 0, 0, 1},
};

/// 4x4 outputs of a 3x3 kernel: points 0, +-2/3, +-3/2, infinity.
static const ck_points ck_inputs3 = {
    {1, 0, -97.0f / 36, 0, 1, 0},
    {0, -3.0f / 2, -9.0f / 4, 2.0f / 3, 1, 0},
    {0, -2.0f / 3, -4.0f / 9, 3.0f / 2, 1, 0},
    {0, 1, 0, -97.0f / 36, 0, 1},
};
static const ck_points ck_outputs3 = {
    {1}, {1, 2.0f / 3, 4.0f / 9, 8.0f / 27}, {1, 3.0f / 2, 9.0f / 4, 27.0f / 8}, {0, 0, 0, 1}};
static const ck_points ck_taps3 = {
    {1},
    {-81.0f / 130, -54.0f / 130, -36.0f / 130},
    {8.0f / 65, 12.0f / 65, 18.0f / 65},
    {0, 0, 1},
};

#define CK_ALL _Pragma("clang loop unroll(full)")

/// sum + factor * value, for constant factors.
CK_INLINE void ck_add_scaled(ck_lanes *sum, int *is_empty, float factor, ck_lanes value) {
    if (factor == 0) return;
    if (*is_empty) *sum = factor == 1 ? value : factor == -1 ? -value : ck_splat(factor) * value;
    else if (factor == 1) *sum += value;
    else if (factor == -1) *sum -= value;
    else *sum = ck_splat(factor) * value + *sum;
    *is_empty = 0;
}

/// The values at all points of the polynomial whose `count` coefficients are `in`, by a table.
CK_INLINE void ck_to_points(
    const float (*table)[CK_TILE_MAX], const int pairs, const int count, const ck_lanes *in,
    const int in_step, ck_lanes *out, const int out_step) {
    CK_ALL for (int p = 0; p < pairs + 2; p++) {
        ck_lanes even = ck_splat(0), odd = ck_splat(0);
        int no_even = 1, no_odd = 1;
        CK_ALL for (int j = 0; j < count; j += 2)
            ck_add_scaled(&even, &no_even, table[p][j], in[j * in_step]);
        CK_ALL for (int j = 1; j < count; j += 2)
            ck_add_scaled(&odd, &no_odd, table[p][j], in[j * in_step]);
        if (p == 0) {
            out[0] = even;
        } else if (p == pairs + 1) {
            out[(2 * pairs + 1) * out_step] = no_odd ? even : no_even ? odd : even + odd;
        } else {
            out[(2 * p - 1) * out_step] = even + odd;
            out[2 * p * out_step] = even - odd;
        }
    }
}

/// The transposed map: `count` sums over all points.
CK_INLINE void ck_from_points(
    const float (*table)[CK_TILE_MAX], const int pairs, const int count, const ck_lanes *in,
    const int in_step, ck_lanes *out, const int out_step) {
    ck_lanes sum[3], difference[3];
    CK_ALL for (int p = 0; p < pairs; p++) {
        const ck_lanes plus = in[(2 * p + 1) * in_step], minus = in[(2 * p + 2) * in_step];
        sum[p] = plus + minus;
        difference[p] = plus - minus;
    }
    CK_ALL for (int j = 0; j < count; j++) {
        ck_lanes total = ck_splat(0);
        int is_empty = 1;
        CK_ALL for (int p = 1; p <= pairs; p++)
            ck_add_scaled(&total, &is_empty, table[p][j], j % 2 == 0 ? sum[p - 1] : difference[p - 1]);
        ck_add_scaled(&total, &is_empty, table[0][j], in[0]);
        ck_add_scaled(&total, &is_empty, table[pairs + 1][j], in[(2 * pairs + 1) * in_step]);
        out[j * out_step] = total;
    }
}
