// What the two passes of attention over bfloat16 pairs share; see pairs.h. One thread works on one head at a
// time. Queries and the output's gradient enter products as they lie in memory; what stands on a product's
// right is packed first: as panels, whose lanes are tokens and whose pairs are neighbouring features, or as
// rows of token pairs, whose lanes are features.
#pragma once
#include "pairs.h"

#include "attention.h"

/// 2^x to 2^-17 of itself for x <= 0, 0 where that is below 2^-149; NaN stays NaN. What it makes is rounded
/// to 2^-9 and summed.
CK_INLINE ck_lanes ck_short_exp2(ck_lanes x) {
    // The second operand is returned where either is NaN. -inf would leave NaN behind.
    x = (ck_lanes)_mm512_max_ps((__m512)ck_splat(-200), (__m512)x);
    enum { NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    const ck_lanes n = (ck_lanes)_mm512_roundscale_ps((__m512)x, NEAREST);
    const ck_lanes r = x - n;
    ck_lanes p = ck_splat(9.570101433e-3f);
    p = p * r + ck_splat(5.591786028e-2f);
    p = p * r + ck_splat(2.402474484e-1f);
    p = p * r + ck_splat(6.931218147e-1f);
    p = p * r + ck_splat(9.999992614e-1f);
    return (ck_lanes)_mm512_scalef_ps((__m512)p, (__m512)n);
}

/// Rows of `width` features that lie `stride` apart become words [(count + 1) / 2, padded]: each word holds a
/// feature of two neighbouring rows. What is beyond the rows and features is 0.
CK_INLINE void ck_pack_row_pairs(uint32_t *to, size_t padded, const uint16_t *from, size_t stride,
                                        size_t count, size_t width) {
    for (size_t row = 0; row < count; row += 2, to += padded) {
        const uint16_t *first = from + row * stride;
        for (size_t d = 0; d < padded; d += CK_LANES) {
            const ck_half_lanes low = ck_read_halves(first + d, width - d);
            const ck_half_lanes high = row + 1 < count ? ck_read_halves(first + stride + d, width - d)
                                                       : (ck_half_lanes)0;
            ck_write_words(to + d, ck_pair_halves(__builtin_shufflevector(
                low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
                23, 24, 25, 26, 27, 28, 29, 30, 31)));
        }
    }
}

/// Rows of `pairs` words that lie `stride` words apart become panels [rows / 16][pairs][16], whose lanes are
/// the rows; those beyond `count` are 0.
CK_INLINE void ck_pack_word_panels(uint32_t *to, const uint32_t *from, size_t stride, size_t count,
                                          size_t pairs) {
    for (size_t row = 0; row < count; row += CK_LANES, to += pairs * CK_LANES) {
        for (size_t d = 0; d < pairs; d += CK_LANES) {
            ck_lanes block[CK_LANES];
#pragma clang loop unroll(full)
            for (size_t i = 0; i < CK_LANES; i++) {
                const uint32_t *line = from + (row + i) * stride + d;
                block[i] = (ck_lanes)(row + i < count ? ck_read_words(line, pairs - d) : (ck_bit_lanes)0);
            }
            ck_transpose_lanes(block);
            const size_t lines = pairs - d < CK_LANES ? pairs - d : CK_LANES;
#pragma clang loop unroll(full)
            for (size_t i = 0; i < CK_LANES; i++)
                if (i < lines) ck_write_words(to + (d + i) * CK_LANES, (ck_bit_lanes)block[i]);
        }
    }
}
