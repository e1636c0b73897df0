// Weights as bfloat16, in blocks of pairs as products in bfloat16 read them.
#pragma once
#include "CKernelsOptimizer.h"
#include "lane_values.h"

/// Sixteen numbers rounded to bfloat16, in the low halves.
CK_INLINE ck_bit_lanes ck_half_bits(ck_lanes value) {
    const ck_bit_lanes bits = __builtin_bit_cast(ck_bit_lanes, value);
    const ck_bit_lanes rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return value == value ? rounded : (bits >> 16) | 0x40;
}

/// Sixteen pairs of numbers.
CK_INLINE void ck_write_pairs(uint16_t *pairs, ck_lanes even, ck_lanes odd) {
    const ck_bit_lanes both = ck_half_bits(even) | ck_half_bits(odd) << 16;
    __builtin_memcpy(pairs, &both, sizeof both);
}

/// Sixteen lines of `block` floats as eight lines of pairs.
CK_INLINE void ck_copy_block(const float *weights, uint16_t *copy, size_t block) {
    for (size_t line = 0; line < CK_WEIGHT_BLOCK_INPUTS; line += 2)
        for (size_t c = 0; c < block; c += CK_LANES) {
            const float *even = weights + line * block + c;
            ck_write_pairs(
                copy + line * block + 2 * c, ck_read(even, 0, CK_FLOAT32),
                ck_read(even, block, CK_FLOAT32));
        }
}
