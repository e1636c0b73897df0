// Products of bfloat16 with AVX512-BF16: an instruction multiplies sixteen pairs of neighbours and adds both
// products to a float32 lane. What such a product reads is therefore laid out in pairs, one 32-bit word each,
// whose low half is the one of the lower index.
//
// A file that includes this is compiled for those instructions from here on, down to its CK_PAIRS_END, and
// includes it first; what it defines may be called only where `ck_multiplies_pairs`.
#pragma once
#include "internal.h"
#include <immintrin.h>
#include <math.h>

#define CK_PAIRS_END _Pragma("clang attribute pop")

#pragma clang attribute push(__attribute__((target("arch=x86-64-v4,avx512bf16"))), apply_to = function)
#include "lane_values.h"

/// c[i, n] = sum over k of a[i, k] . b[k, n], where a[i, k] and b[k, n] are pairs. Strides are in words.
typedef struct {
    size_t rows;
    /// Columns in vectors of 16.
    size_t vectors;
    /// Pairs.
    size_t depth;
    const uint32_t *a;
    size_t a_row, a_depth;
    /// Column n of pair k lies at b[k * b_depth + n / 16 * b_vector + n % 16].
    const uint32_t *b;
    size_t b_depth, b_vector;
    float *c;
    size_t c_row;
    /// Adds to c instead of replacing it.
    int32_t adds;
} ck_pair_product;

/// Serial. Every element is summed over k in ascending order.
void ck_multiply_pairs(const ck_pair_product *product);

typedef uint16_t ck_wide_half_lanes __attribute__((ext_vector_type(2 * CK_LANES)));

/// Rounds two vectors to nearest even: `low`'s sixteen, then `high`'s. Subnormal numbers become 0.
CK_INLINE ck_wide_half_lanes ck_round_two(ck_lanes low, ck_lanes high) {
    return (ck_wide_half_lanes)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
}

/// Sixteen pairs of an element of the first half and its counterpart of the second.
CK_INLINE ck_bit_lanes ck_pair_halves(ck_wide_half_lanes halves) {
    return (ck_bit_lanes)__builtin_shufflevector(halves, halves, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6,
                                                 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14,
                                                 30, 15, 31);
}

/// Element i of lane i: sum + a . b, the pairs' products added in float32.
CK_INLINE ck_lanes ck_add_pairs(ck_lanes sum, ck_bit_lanes a, ck_bit_lanes b) {
    return (ck_lanes)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}

/// The first `count` (at most 16) words, the others 0.
CK_INLINE ck_bit_lanes ck_read_words(const void *words, size_t count) {
    const __mmask16 mask = (__mmask16)(count >= CK_LANES ? 0xffff : (1u << count) - 1);
    return (ck_bit_lanes)_mm512_maskz_loadu_epi32(mask, words);
}

/// The first `count` (at most 16) halves, the others 0.
CK_INLINE ck_half_lanes ck_read_halves(const uint16_t *halves, size_t count) {
    const __mmask16 mask = (__mmask16)(count >= CK_LANES ? 0xffff : (1u << count) - 1);
    return (ck_half_lanes)_mm256_maskz_loadu_epi16(mask, halves);
}

CK_INLINE void ck_write_words(uint32_t *words, ck_bit_lanes value) {
    __builtin_memcpy(words, &value, sizeof value);
}
