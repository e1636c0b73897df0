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

// ---- rounding.c

/// The range that an activation's codes cover, as training knows it: bounds, and the scale and the code of zero
/// that follow from them. Nothing has come by where the scale is 0; then nothing is rounded either.
typedef struct {
    float low;
    float high;
    float scale;
    float zero_point;
} ck_range;

/// Lets a range follow a batch in steps whose state says so: the first batch gives the bounds, each later one
/// moves them by `rate` of what they differ by. Batches with numbers that are not finite change nothing.
///
/// Scale and zero follow as `ActivationScale` has it: the range widened to hold 0, over `code_max` steps; with
/// `is_symmetric` zero has the code in the middle.
typedef struct {
    size_t count;
    const ck_step_state *state;
    const float *input;
    ck_range *range;
    double rate;
    int32_t is_symmetric;
    int32_t code_max;
} ck_follow_range_arguments;
void ck_follow_range(const ck_follow_range_arguments *arguments);

/// output = scale * (code - zero point) with the code that `ck_quantize` gives the input, the scale `factor`
/// times the range's; what is no number stays so. May be in place.
typedef struct {
    size_t count;
    const float *input;
    const ck_range *range;
    float *output;
    float factor;
    int32_t code_max;
} ck_round_activations_arguments;
void ck_round_activations(const ck_round_activations_arguments *arguments);

/// gradient = 0 where the input's nearest code lies beyond the codes; the rest passes straight through.
typedef struct {
    size_t count;
    const float *input;
    const ck_range *range;
    float *gradient;
    float factor;
    int32_t code_max;
} ck_round_activations_backward_arguments;
void ck_round_activations_backward(const ck_round_activations_backward_arguments *arguments);

/// output = code * scale with the codes and scales that `ck_quantize_weights` gives weights [rows, width] whose
/// factors are 1; what is no number stays so.
///
/// The least scale of a row is |bias| / (the range's scale * 2^23), so that the bias fits 32 bits, and at least
/// 1e-30; `bias` may be null. `scales` holds a number for each row.
typedef struct {
    size_t rows;
    size_t width;
    const float *weights;
    const float *bias;
    const ck_range *range;
    float *scales;
    float *output;
    int32_t is_shared;
} ck_round_weights_arguments;
void ck_round_weights(const ck_round_weights_arguments *arguments);
