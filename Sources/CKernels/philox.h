#pragma once
#include "internal.h"

enum { CK_PHILOX_BLOCKS = 16 };

/// Sixteen consecutive Philox4x32-10 blocks; word w of block b goes to words[w][b].
CK_INLINE void ck_philox(
    uint32_t first_block, uint32_t step, uint32_t layer, uint32_t high, uint64_t seed,
    uint32_t words[4][CK_PHILOX_BLOCKS]) {
    for (int lane = 0; lane < CK_PHILOX_BLOCKS; lane++) {
        uint32_t c0 = first_block + (uint32_t)lane, c1 = step, c2 = layer, c3 = high;
        uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
#pragma clang loop unroll(full)
        for (int round = 0; round < 10; round++) {
            uint64_t p0 = (uint64_t)c0 * 0xD2511F53u, p1 = (uint64_t)c2 * 0xCD9E8D57u;
            c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
            c1 = (uint32_t)p1;
            c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
            c3 = (uint32_t)p0;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        words[0][lane] = c0;
        words[1][lane] = c1;
        words[2][lane] = c2;
        words[3][lane] = c3;
    }
}

/// The fourth word of the counter: the step's high half and the generator's purpose share it.
CK_INLINE uint32_t ck_philox_high(uint64_t step, uint32_t purpose) {
    return purpose + ((uint32_t)(step >> 32) << 8);
}

/// An element is kept when the upper 24 bits of its word, as a uniform number, are not below the probability.
CK_INLINE uint32_t ck_drop_threshold(float probability) { return (uint32_t)(probability * 0x1p24f + 0.5f); }
