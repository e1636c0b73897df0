#pragma once
#include "internal.h"

enum { CK_PRODUCT_ROWS = 8 };

/// c[i, n] = sum over k of a[i, k] * b[k, n], for blocks in one core's caches. Strides are in floats.
typedef struct {
    /// A multiple of CK_PRODUCT_ROWS.
    size_t rows;
    /// Columns in vectors of 16.
    size_t vectors;
    size_t depth;
    const float *a;
    size_t a_row, a_depth;
    /// Column n of row k lies at b[k * b_depth + n / 16 * b_vector + n % 16].
    const float *b;
    size_t b_depth, b_vector;
    float *c;
    size_t c_row;
    /// Adds to c instead of replacing it.
    int32_t adds;
} ck_product;

/// Serial. Every element is summed over k in ascending order.
void ck_multiply(const ck_product *product);
