#include "CKernels.h"

#if defined(__x86_64__)

int32_t ck_multiplies_pairs(void) {
    return __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512bf16");
}

#include "pairs.h"

/// One tile of `high` rows and `wide` vectors: at most 24 sums, which 32 registers hold beside b's row.
CK_INLINE void multiply_tile(const ck_pair_product *p, size_t row, size_t vector, const int high,
                                    const int wide) {
    const uint32_t *a = p->a + row * p->a_row, *b = p->b + vector * p->b_vector;
    float *c = p->c + row * p->c_row + vector * CK_LANES;
    const size_t a_row = p->a_row, a_depth = p->a_depth, b_depth = p->b_depth, b_vector = p->b_vector;
    ck_lanes sum[8][3];
#pragma clang loop unroll(full)
    for (int i = 0; i < high; i++)
#pragma clang loop unroll(full)
        for (int v = 0; v < wide; v++)
            sum[i][v] = p->adds ? ck_read(c + (size_t)i * p->c_row, (size_t)v * CK_LANES, CK_FLOAT32)
                                : ck_splat(0);
    for (size_t k = 0; k < p->depth; k++) {
        ck_bit_lanes line[3];
#pragma clang loop unroll(full)
        for (int v = 0; v < wide; v++) line[v] = ck_read_words(b + (size_t)v * b_vector, CK_LANES);
#pragma clang loop unroll(full)
        for (int i = 0; i < high; i++) {
            const ck_bit_lanes left = (ck_bit_lanes)a[(size_t)i * a_row];
#pragma clang loop unroll(full)
            for (int v = 0; v < wide; v++) sum[i][v] = ck_add_pairs(sum[i][v], line[v], left);
        }
        a += a_depth;
        b += b_depth;
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < high; i++)
#pragma clang loop unroll(full)
        for (int v = 0; v < wide; v++)
            ck_write(c + (size_t)i * p->c_row, (size_t)v * CK_LANES, sum[i][v], CK_FLOAT32);
}

/// All rows of `wide` vectors; what is left of rows by eights goes by fours, twos and ones, and no row beyond
/// is touched.
CK_INLINE void multiply_columns(const ck_pair_product *p, size_t vector, const int wide) {
    size_t row = 0;
    for (; row + 8 <= p->rows; row += 8) multiply_tile(p, row, vector, 8, wide);
    if (p->rows & 4) {
        multiply_tile(p, row, vector, 4, wide);
        row += 4;
    }
    if (p->rows & 2) {
        multiply_tile(p, row, vector, 2, wide);
        row += 2;
    }
    if (p->rows & 1) multiply_tile(p, row, vector, 1, wide);
}

void ck_multiply_pairs(const ck_pair_product *p) {
    for (size_t vector = 0; vector < p->vectors;) {
        const size_t left = p->vectors - vector;
        // 4 = 2 + 2: a tile of one vector waits for its loads.
        const size_t wide = left == 4 || left == 2 ? 2 : left >= 3 ? 3 : 1;
        if (wide == 3) multiply_columns(p, vector, 3);
        else if (wide == 2) multiply_columns(p, vector, 2);
        else multiply_columns(p, vector, 1);
        vector += wide;
    }
}

CK_PAIRS_END

#else

int32_t ck_multiplies_pairs(void) { return 0; }

#endif
