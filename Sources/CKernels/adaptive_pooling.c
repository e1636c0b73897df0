#include "internal.h"

/// Channels that are summed at a time, in registers.
enum { BLOCK = 64 };

CK_INLINE size_t first(size_t index, size_t count, size_t extent) { return index * extent / count; }
CK_INLINE size_t past(size_t index, size_t count, size_t extent) {
    return ((index + 1) * extent + count - 1) / count;
}

CK_INLINE void add_scaled(
    float *sums, const void *values, size_t at, size_t count, float scale, ck_element type) {
    if (count == BLOCK)
        for (size_t c = 0; c < BLOCK; c++) sums[c] += scale * ck_load(values, at + c, type);
    else
        for (size_t c = 0; c < count; c++) sums[c] += scale * ck_load(values, at + c, type);
}

/// One unit is one output pixel.
CK_INLINE void forward(const ck_adaptive_average_arguments *a, size_t begin, size_t end, ck_element type) {
    for (size_t unit = begin; unit < end; unit++) {
        size_t ox = unit % a->out_width, oy = unit / a->out_width % a->out_height;
        size_t n = unit / (a->out_width * a->out_height);
        size_t top = first(oy, a->out_height, a->height), bottom = past(oy, a->out_height, a->height);
        size_t left = first(ox, a->out_width, a->width), right = past(ox, a->out_width, a->width);
        float scale = 1.0f / (float)((bottom - top) * (right - left));
        for (size_t c = 0; c < a->channels; c += BLOCK) {
            size_t count = a->channels - c < BLOCK ? a->channels - c : BLOCK;
            float sums[BLOCK] = {0};
            for (size_t y = top; y < bottom; y++)
                for (size_t x = left; x < right; x++) {
                    size_t at = ((n * a->height + y) * a->width + x) * a->channels + c;
                    add_scaled(sums, a->input, at, count, 1, type);
                }
            size_t to = unit * a->channels + c;
            for (size_t i = 0; i < count; i++) ck_store(a->output, to + i, sums[i] * scale, type);
        }
    }
}

/// One unit is one input pixel: it gathers from the windows that hold it.
CK_INLINE void backward(const ck_adaptive_average_arguments *a, size_t begin, size_t end, ck_element type) {
    for (size_t unit = begin; unit < end; unit++) {
        size_t x = unit % a->width, y = unit / a->width % a->height, n = unit / (a->width * a->height);
        // The windows of y are the y-th window of the inverse tiling.
        size_t top = first(y, a->height, a->out_height), bottom = past(y, a->height, a->out_height);
        size_t left = first(x, a->width, a->out_width), right = past(x, a->width, a->out_width);
        for (size_t c = 0; c < a->channels; c += BLOCK) {
            size_t count = a->channels - c < BLOCK ? a->channels - c : BLOCK;
            float sums[BLOCK] = {0};
            for (size_t oy = top; oy < bottom; oy++) {
                size_t rows = past(oy, a->out_height, a->height) - first(oy, a->out_height, a->height);
                for (size_t ox = left; ox < right; ox++) {
                    size_t columns = past(ox, a->out_width, a->width) - first(ox, a->out_width, a->width);
                    size_t at = ((n * a->out_height + oy) * a->out_width + ox) * a->channels + c;
                    add_scaled(sums, a->output, at, count, 1.0f / (float)(rows * columns), type);
                }
            }
            for (size_t i = 0; i < count; i++) ck_store(a->input, unit * a->channels + c + i, sums[i], type);
        }
    }
}

CK_CLONES
static void forward_range(const void *pointer, size_t begin, size_t end) {
    const ck_adaptive_average_arguments *a = pointer;
    if (a->element == CK_BFLOAT16) forward(a, begin, end, CK_BFLOAT16);
    else forward(a, begin, end, CK_FLOAT32);
}

CK_CLONES
static void backward_range(const void *pointer, size_t begin, size_t end) {
    const ck_adaptive_average_arguments *a = pointer;
    if (a->element == CK_BFLOAT16) backward(a, begin, end, CK_BFLOAT16);
    else backward(a, begin, end, CK_FLOAT32);
}

void ck_adaptive_average(const ck_adaptive_average_arguments *a) {
    size_t area = a->height * a->width / (a->out_height * a->out_width) + 1;
    ck_for_range(forward_range, a, a->batch * a->out_height * a->out_width, a->channels * area);
}

void ck_adaptive_average_backward(const ck_adaptive_average_arguments *a) {
    ck_for_range(backward_range, a, a->batch * a->height * a->width, a->channels);
}
