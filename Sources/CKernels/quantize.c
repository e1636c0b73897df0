#include "internal.h"
#include "codes.h"
#include <math.h>
#include <string.h>

CK_INLINE void quantize(const ck_quantize_arguments *a, const float *input, uint8_t *output, size_t count) {
    const float high = (float)a->code_max, zero = (float)a->zero_point, inverse = a->inverse;
    CK_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        output[i] = (uint8_t)(int32_t)rintf(ck_clamped(ck_steps(input[i], inverse, zero), 0, high));
    }
}

CK_CLONES
static void quantize_range(const void *pointer, size_t begin, size_t end) {
    const ck_quantize_arguments *a = pointer;
    quantize(a, a->input + begin, a->output + begin, end - begin);
}

CK_CLONES
static void quantize_lines(const void *pointer, size_t begin, size_t end) {
    const ck_quantize_arguments *a = pointer;
    const size_t lines = a->height + 2 * a->top, width = a->row + 2 * a->side;
    for (size_t line = begin; line < end; line++) {
        const size_t image = line / lines, place = line % lines;
        uint8_t *output = a->output + line * width;
        if (place < a->top || place >= a->top + a->height) {
            memset(output, a->zero_point, width);
            continue;
        }
        memset(output, a->zero_point, a->side);
        quantize(a, a->input + (image * a->height + place - a->top) * a->row, output + a->side, a->row);
        memset(output + a->side + a->row, a->zero_point, a->side);
    }
}

void ck_quantize(const ck_quantize_arguments *arguments) {
    const ck_quantize_arguments *a = arguments;
    if (a->top == 0 && a->side == 0) ck_for_range(quantize_range, a, a->images * a->height * a->row, 1);
    else ck_for_units(quantize_lines, a, a->images * (a->height + 2 * a->top), a->row + 2 * a->side);
}

CK_CLONES
static float largest_size(const float *weights, size_t count) { return ck_largest_size(weights, count); }

CK_CLONES
static void quantize_row(const float *weights, size_t count, float factor, float scale, int8_t *codes) {
    CK_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        codes[i] = (int8_t)(int32_t)rintf(ck_clamped(weights[i] * factor / scale, -127, 127));
}

void ck_quantize_weights(const ck_quantize_weights_arguments *arguments) {
    const ck_quantize_weights_arguments *a = arguments;
    float shared = 0;
    for (size_t row = 0; row < a->rows; row++) {
        const float size = largest_size(a->weights + row * a->width, a->width) * fabsf(a->factors[row]) / 127;
        a->scales[row] = size > a->least[row] ? size : a->least[row];
        shared = a->scales[row] > shared ? a->scales[row] : shared;
    }
    for (size_t row = 0; row < a->rows; row++) {
        if (a->is_shared) a->scales[row] = shared;
        quantize_row(
            a->weights + row * a->width, a->width, a->factors[row], a->scales[row],
            a->codes + row * a->width);
    }
}

enum { CK_RANGE_LANES = 16 };

CK_CLONES
void ck_widen_range(const float *input, size_t count, float range[2]) {
    float low[CK_RANGE_LANES], high[CK_RANGE_LANES];
    for (size_t lane = 0; lane < CK_RANGE_LANES; lane++) (low[lane] = range[0], high[lane] = range[1]);
    size_t i = 0;
    for (; i + CK_RANGE_LANES <= count; i += CK_RANGE_LANES) {
        CK_INDEPENDENT
        for (size_t lane = 0; lane < CK_RANGE_LANES; lane++) {
            const float x = input[i + lane];
            low[lane] = x < low[lane] ? x : low[lane];
            high[lane] = x > high[lane] ? x : high[lane];
        }
    }
    for (; i < count; i++) {
        low[0] = input[i] < low[0] ? input[i] : low[0];
        high[0] = input[i] > high[0] ? input[i] : high[0];
    }
    for (size_t lane = 0; lane < CK_RANGE_LANES; lane++) {
        range[0] = low[lane] < range[0] ? low[lane] : range[0];
        range[1] = high[lane] > range[1] ? high[lane] : range[1];
    }
}

void ck_add_histogram(
    const float *input, size_t count, float low, float high, uint64_t *histogram, size_t bins) {
    const double factor = (double)bins / ((double)high - (double)low);
    for (size_t i = 0; i < count; i++) {
        if (input[i] != input[i]) continue;
        const double place = ((double)input[i] - (double)low) * factor;
        const size_t last = bins - 1;
        histogram[place > 0 ? place < (double)last ? (size_t)place : last : 0]++;
    }
}
