#include "lane_values.h"
#include <string.h>

/// A permutation whose innermost axis stays innermost: runs are copied. One unit is one run.
static void copy_runs(const void *pointer, size_t begin, size_t end) {
    const ck_permute_arguments *a = pointer;
    const size_t *extents = a->extents, *strides = a->strides, size = a->element == CK_BFLOAT16 ? 2 : 4;
    const size_t bytes = extents[4] * size;
    for (size_t unit = begin; unit < end; unit++) {
        size_t rest = unit, from = 0;
        for (int axis = 3; axis >= 0; axis--) {
            from += rest % extents[axis] * strides[axis];
            rest /= extents[axis];
        }
        memcpy((char *)a->output + unit * bytes, (const char *)a->input + from * size, bytes);
    }
}

/// The axis, other than the innermost of the output, along which the input is contiguous.
static int input_axis(const ck_permute_arguments *a) {
    for (int axis = 3; axis >= 0; axis--)
        if (a->strides[axis] == 1 && a->extents[axis] > 1) return axis;
    return 3;
}

/// A tile of up to 16 x 16 with rows contiguous in the input and columns contiguous in the output.
CK_INLINE void transpose_tile(const void *from, size_t start, size_t from_stride, void *to, size_t target,
                              size_t to_stride, size_t rows, size_t columns, const ck_element type) {
    if (rows == CK_LANES && columns == CK_LANES) {
        // bfloat16 widens and narrows without loss, also NaN that is quiet.
        ck_lanes block[CK_LANES];
#pragma clang loop unroll(full)
        for (size_t i = 0; i < CK_LANES; i++) block[i] = ck_read(from, start + i * from_stride, type);
        ck_transpose_lanes(block);
#pragma clang loop unroll(full)
        for (size_t i = 0; i < CK_LANES; i++) ck_write(to, target + i * to_stride, block[i], type);
        return;
    }
    for (size_t c = 0; c < columns; c++)
        for (size_t r = 0; r < rows; r++)
            ck_store(to, target + c * to_stride + r, ck_load(from, start + r * from_stride + c, type), type);
}

/// One unit is one index of the three other axes, and one stripe of 16 along the input's contiguous axis.
CK_INLINE void transpose_stripes(const ck_permute_arguments *a, size_t begin, size_t end,
    const ck_element type) {
    const int inner = input_axis(a);
    const size_t *extents = a->extents, stripes = (extents[inner] + CK_LANES - 1) / CK_LANES;
    size_t output_strides[CK_PERMUTE_RANK];
    for (size_t axis = CK_PERMUTE_RANK, stride = 1; axis-- > 0; stride *= extents[axis])
        output_strides[axis] = stride;
    for (size_t unit = begin; unit < end; unit++) {
        size_t rest = unit / stripes, stripe = unit % stripes * CK_LANES;
        size_t from = stripe, to = stripe * output_strides[inner];
        for (int axis = 3; axis >= 0; axis--) {
            if (axis == inner) continue;
            from += rest % extents[axis] * a->strides[axis];
            to += rest % extents[axis] * output_strides[axis];
            rest /= extents[axis];
        }
        const size_t columns = extents[inner] - stripe < CK_LANES ? extents[inner] - stripe : CK_LANES;
        for (size_t row = 0; row < extents[4]; row += CK_LANES) {
            const size_t rows = extents[4] - row < CK_LANES ? extents[4] - row : CK_LANES;
            transpose_tile(a->input, from + row * a->strides[4], a->strides[4], a->output, to + row,
                           output_strides[inner], rows, columns, type);
        }
    }
}

CK_CLONES
static void transpose_range(const void *pointer, size_t begin, size_t end) {
    const ck_permute_arguments *a = pointer;
    if (a->element == CK_BFLOAT16) transpose_stripes(a, begin, end, CK_BFLOAT16);
    else transpose_stripes(a, begin, end, CK_FLOAT32);
}

void ck_permute(const ck_permute_arguments *a) {
    size_t outer = 1;
    for (int axis = 0; axis < 4; axis++) outer *= a->extents[axis];
    if (a->strides[4] == 1 || a->extents[4] == 1) {
        ck_for_units(copy_runs, a, outer, a->extents[4]);
        return;
    }
    const size_t inner = a->extents[input_axis(a)];
    ck_for_units(transpose_range, a, outer / inner * ((inner + CK_LANES - 1) / CK_LANES),
        a->extents[4] * CK_LANES);
}

static void copy_columns_range(const void *pointer, size_t begin, size_t end) {
    const ck_copy_columns_arguments *a = pointer;
    for (size_t row = begin; row < end; row++) {
        char *to = (char *)a->output + row * a->output_stride;
        const char *from = (const char *)a->source + row * a->source_stride + a->source_offset;
        if (a->zeros_rest) {
            const size_t stop = a->output_offset + a->count;
            memset(to, 0, a->output_offset);
            memset(to + stop, 0, a->output_stride - stop);
        }
        memcpy(to + a->output_offset, from, a->count);
    }
}

void ck_copy_columns(const ck_copy_columns_arguments *arguments) {
    const size_t written = arguments->zeros_rest ? arguments->output_stride : arguments->count;
    ck_for_units(copy_columns_range, arguments, arguments->rows, written / 4);
}

static void prepend_range(const void *pointer, size_t begin, size_t end) {
    const ck_prepend_token_arguments *a = pointer;
    const size_t size = a->element == CK_BFLOAT16 ? 2 : 4, bytes = a->tokens * a->width * size;
    for (size_t b = begin; b < end; b++) {
        const size_t start = b * (a->tokens + 1) * a->width;
        for (size_t i = 0; i < a->width; i++) ck_store(a->output, start + i, a->token[i], a->element);
        memcpy((char *)a->output + (start + a->width) * size, (const char *)a->input + b * bytes, bytes);
    }
}

void ck_prepend_token(const ck_prepend_token_arguments *arguments) {
    ck_for_units(prepend_range, arguments, arguments->batch, (arguments->tokens + 1) * arguments->width);
}
