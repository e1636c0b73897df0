#include "products.h"
#include "lane_values.h"

/// One tile of 8 rows and `wide` vectors: at most 24 sums, which AVX-512's 32 registers hold beside b's row.
CK_INLINE void multiply_tile(const ck_product *p, size_t row, size_t vector, const int wide) {
    const float *a = p->a + row * p->a_row;
    const float *b = p->b + vector * p->b_vector;
    float *c = p->c + row * p->c_row + vector * CK_LANES;
    const size_t a_row = p->a_row, a_depth = p->a_depth, b_depth = p->b_depth, b_vector = p->b_vector;
    ck_lanes sum[CK_PRODUCT_ROWS][3];
#pragma clang loop unroll(full)
    for (int i = 0; i < CK_PRODUCT_ROWS; i++)
#pragma clang loop unroll(full)
        for (int v = 0; v < wide; v++)
            sum[i][v] = p->adds ? *(const ck_unaligned_lanes *)(c + (size_t)i * p->c_row + v * CK_LANES)
                : ck_splat(0);
    for (size_t k = 0; k < p->depth; k++) {
        ck_lanes line[3];
#pragma clang loop unroll(full)
        for (int v = 0; v < wide; v++) line[v] = *(const ck_unaligned_lanes *)(b + (size_t)v * b_vector);
#pragma clang loop unroll(full)
        for (int i = 0; i < CK_PRODUCT_ROWS; i++) {
            ck_lanes left = ck_splat(a[(size_t)i * a_row]);
#pragma clang loop unroll(full)
            for (int v = 0; v < wide; v++) sum[i][v] = left * line[v] + sum[i][v];
        }
        a += a_depth;
        b += b_depth;
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < CK_PRODUCT_ROWS; i++)
#pragma clang loop unroll(full)
        for (int v = 0; v < wide; v++)
            *(ck_unaligned_lanes *)(c + (size_t)i * p->c_row + v * CK_LANES) = sum[i][v];
}

CK_CLONES
static void multiply(const ck_product *p) {
    for (size_t vector = 0; vector < p->vectors;) {
        size_t left = p->vectors - vector;
        // 4 = 2 + 2: a tile of one vector waits for its loads.
        size_t wide = left == 4 || left == 2 ? 2 : left >= 3 ? 3 : 1;
        for (size_t row = 0; row < p->rows; row += CK_PRODUCT_ROWS) {
            if (wide == 3) multiply_tile(p, row, vector, 3);
            else if (wide == 2) multiply_tile(p, row, vector, 2);
            else multiply_tile(p, row, vector, 1);
        }
        vector += wide;
    }
}

void ck_multiply(const ck_product *product) { multiply(product); }
