// 8-bit codes of activations and weights, and what decides their scales. Included by CKernels.h.
#pragma once

// ---- quantize.c

/// output = nearest(clamp(input * inverse + zero_point, 0, code_max)), halves to the even neighbour; what is
/// no number becomes 0.
///
/// The input is [images, height, width * channels] (`row` elements a line); the output has `top` lines and
/// `side` elements on either side more, all of them the zero point.
typedef struct {
    size_t images;
    size_t height;
    size_t row;
    size_t top;
    size_t side;
    const float *input;
    uint8_t *output;
    float inverse;
    int32_t zero_point;
    int32_t code_max;
} ck_quantize_arguments;
void ck_quantize(const ck_quantize_arguments *arguments);

/// Codes of weights [rows, width], each row with a scale of its own: nearest(weight * factor / scale).
///
/// Row r is multiplied by `factors[r]` first. Its scale is its largest size / 127, or `least[r]` where that
/// is more; with `is_shared` all rows have the largest of those scales. Codes lie between -127 and 127; 0 is 0.
typedef struct {
    size_t rows;
    size_t width;
    const float *weights;
    const float *factors;
    const float *least;
    float *scales;
    int8_t *codes;
    int32_t is_shared;
} ck_quantize_weights_arguments;
void ck_quantize_weights(const ck_quantize_weights_arguments *arguments);

/// Widens `range` (least, greatest) by `count` elements; what is no number is left out.
void ck_widen_range(const float *input, size_t count, float range[2]);

/// Adds `count` elements to a histogram of `bins` equal bins from `low` to `high`; what lies outside goes to
/// the outermost bins, what is no number nowhere.
void ck_add_histogram(
    const float *input, size_t count, float low, float high, uint64_t *histogram, size_t bins);
