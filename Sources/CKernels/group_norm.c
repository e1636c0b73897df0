#include "channel_rows.h"
#include "parts.h"
#include <math.h>

/// One group's statistics in one sample, as saved.
typedef struct {
    float mean;
    /// What is left of the mean after rounding.
    float residue;
    /// 1 / sqrt(variance + epsilon)
    float deviation;
} group_statistics;

CK_INLINE group_statistics saved_statistics(const float *saved, size_t index, size_t count) {
    return (group_statistics){saved[index], saved[count + index], saved[2 * count + index]};
}

/// The one pair of expressions, so that a backward pass finds the very input that an activation had.
CK_INLINE void set_coefficients(
    float *factor, float *offset, const group_statistics s, const float *scale, const float *shift,
    size_t c) {
    *factor = scale ? scale[c] * s.deviation : s.deviation;
    *offset = (shift ? shift[c] : 0) - s.residue * *factor;
}

// ---- Forward, sample by sample.

/// Sums over a sample of (x - x of its first row), and of its square, for each channel.
CK_INLINE void sample_moments(
    const ck_group_norm_arguments *a, size_t start, double *sums, double *squares, const ck_element type) {
    const size_t channels = a->channels;
    for (size_t c = 0; c < channels; c++) sums[c] = squares[c] = 0;
    ck_moments moments = {.input = a->input};
    for (size_t first = 0; first < channels; first += CK_SPAN) {
        const ck_strip strip = ck_make_strip(start, a->area, channels, first);
        for (size_t c = 0; c < strip.channels; c++)
            moments.center[c] = ck_load(a->input, start + first + c, type);
        ck_spread(moments.center, &strip);
        ck_add_moments(&moments, &strip, sums + first, squares + first, type);
    }
}

/// A group's mean and variance from those of its channels.
CK_INLINE void finish_groups(
    const ck_group_norm_arguments *a, size_t sample, const double *sums, const double *squares,
    const ck_element type) {
    const size_t members = a->channels / a->groups, count = a->batch * a->groups;
    const size_t start = sample * a->area * a->channels;
    const double area = (double)a->area, inverse = 1 / area;
    for (size_t group = 0; group < a->groups; group++) {
        const size_t first = group * members;
        double total = 0, spread = 0;
        for (size_t c = first; c < first + members; c++)
            total += (double)ck_load(a->input, start + c, type) + sums[c] * inverse;
        const double mean = total / (double)members;
        for (size_t c = first; c < first + members; c++) {
            const double distance = (double)ck_load(a->input, start + c, type) + sums[c] * inverse - mean;
            spread += squares[c] - sums[c] * sums[c] * inverse + area * distance * distance;
        }
        const double variance = spread < 0 ? 0 : spread / (area * (double)members);
        const size_t index = sample * a->groups + group;
        const float rounded = (float)mean;
        a->saved[index] = rounded;
        a->saved[count + index] = (float)(mean - (double)rounded);
        a->saved[2 * count + index] = (float)(1 / sqrt(variance + (double)a->epsilon));
    }
}

CK_INLINE void normalize_sample(const ck_group_norm_arguments *a, size_t sample, const ck_element type) {
    const size_t channels = a->channels, members = channels / a->groups;
    const size_t start = sample * a->area * channels;
    ck_normalizing n = {.input = a->input, .output = a->output};
    n.behind = (ck_activation_arguments){
        .input = a->output, .output = a->output, .kind = a->activation, .type = type, .slope = a->slope};
    for (size_t first = 0; first < channels; first += CK_SPAN) {
        const ck_strip strip = ck_make_strip(start, a->area, channels, first);
        for (size_t c = 0; c < strip.channels; c++) {
            const size_t index = sample * a->groups + (first + c) / members;
            const group_statistics s = saved_statistics(a->saved, index, a->batch * a->groups);
            n.mean[c] = s.mean;
            set_coefficients(&n.factor[c], &n.offset[c], s, a->scale, a->shift, first + c);
        }
        ck_spread(n.mean, &strip);
        ck_spread(n.factor, &strip);
        ck_spread(n.offset, &strip);
        ck_normalize(&n, &strip, 0, CK_ACTIVATION_NONE, type);
    }
}

CK_INLINE void forward_samples(const ck_group_norm_arguments *a, size_t part, const ck_element type) {
    const size_t channels = a->channels;
    const size_t begin = a->batch * part / a->parts, end = a->batch * (part + 1) / a->parts;
    double *sums = a->scratch + part * 4 * channels, *squares = sums + channels;
    for (size_t sample = begin; sample < end; sample++) {
        sample_moments(a, sample * a->area * channels, sums, squares, type);
        finish_groups(a, sample, sums, squares, type);
        normalize_sample(a, sample, type);
    }
}

CK_CLONES
static void forward_part(const void *pointer, size_t part) {
    const ck_group_norm_arguments *a = pointer;
    if (a->type == CK_BFLOAT16) forward_samples(a, part, CK_BFLOAT16);
    else forward_samples(a, part, CK_FLOAT32);
}

void ck_group_norm(const ck_group_norm_arguments *a) {
    ck_for_parts(forward_part, a, a->parts, a->batch * a->area * a->channels);
}

// ---- Backward

/// The gradient of what was normalised: once it has passed the activation, it lies where the result will.
static const void *gradient_behind(const ck_group_norm_backward_arguments *a) {
    return a->activation == CK_ACTIVATION_NONE ? a->gradient_out : a->gradient_in;
}

/// Sums over a sample of g, and of g * (x - mean), for each channel.
CK_INLINE void sample_gradients(
    const ck_group_norm_backward_arguments *a, size_t sample, double *sums, double *products,
    const ck_element type) {
    const size_t channels = a->channels, members = channels / a->groups;
    const size_t start = sample * a->area * channels, count = a->batch * a->groups;
    for (size_t c = 0; c < channels; c++) sums[c] = products[c] = 0;
    ck_differentiating d = {.input = a->input, .gradient_out = gradient_behind(a)};
    d.behind = (ck_activation_backward_arguments){
        .gradient_out = a->gradient_out,
        .gradient_in = a->gradient_in,
        .kind = a->activation,
        .type = type,
        .slope = a->slope,
    };
    for (size_t first = 0; first < channels; first += CK_SPAN) {
        const ck_strip strip = ck_make_strip(start, a->area, channels, first);
        for (size_t c = 0; c < strip.channels; c++) {
            const size_t index = sample * a->groups + (first + c) / members;
            const group_statistics s = saved_statistics(a->saved, index, count);
            d.mean[c] = s.mean;
            set_coefficients(&d.factor[c], &d.offset[c], s, a->scale, a->shift, first + c);
        }
        ck_spread(d.mean, &strip);
        ck_spread(d.factor, &strip);
        ck_spread(d.offset, &strip);
        ck_add_gradients(
            &d, &strip, sums + first, products + first, CK_MASK_NONE, CK_ACTIVATION_NONE, 0, type);
    }
}

/// Turns a channel's sums into those of its normalised values, adds them to the part's gradients of scale and
/// shift, and leaves in each group's first channel the group's sums times the scales.
CK_INLINE void finish_sample(
    const ck_group_norm_backward_arguments *a, size_t sample, double *sums, double *products,
    double *shift_sums, double *scale_sums) {
    const size_t members = a->channels / a->groups, count = a->batch * a->groups;
    for (size_t group = 0; group < a->groups; group++) {
        const group_statistics s = saved_statistics(a->saved, sample * a->groups + group, count);
        const size_t first = group * members;
        double group_sum = 0, group_product = 0;
        for (size_t c = first; c < first + members; c++) {
            const double product = (products[c] - (double)s.residue * sums[c]) * (double)s.deviation;
            const double scale = a->scale ? (double)a->scale[c] : 1;
            shift_sums[c] += sums[c];
            scale_sums[c] += product;
            group_sum += scale * sums[c];
            group_product += scale * product;
        }
        sums[first] = group_sum;
        products[first] = group_product;
    }
}

CK_INLINE void differentiate_sample(
    const ck_group_norm_backward_arguments *a, size_t sample, const double *sums, const double *products,
    const ck_element type) {
    const size_t channels = a->channels, members = channels / a->groups;
    const double inverse = 1 / ((double)a->area * (double)members);
    ck_differentiating d = {
        .input = a->input, .gradient_out = gradient_behind(a), .gradient_in = a->gradient_in};
    for (size_t first = 0; first < channels; first += CK_SPAN) {
        const ck_strip strip = ck_make_strip(sample * a->area * channels, a->area, channels, first);
        for (size_t c = 0; c < strip.channels; c++) {
            const size_t group = (first + c) / members;
            const size_t index = sample * a->groups + group;
            const group_statistics s = saved_statistics(a->saved, index, a->batch * a->groups);
            const float gradient = (float)(sums[group * members] * inverse);
            const float product = (float)(products[group * members] * inverse);
            d.mean[c] = s.mean;
            d.factor[c] = a->scale ? a->scale[first + c] * s.deviation : s.deviation;
            d.slope[c] = -product * s.deviation * s.deviation;
            d.level[c] = -gradient * s.deviation - s.residue * d.slope[c];
        }
        ck_spread(d.mean, &strip);
        ck_spread(d.factor, &strip);
        ck_spread(d.slope, &strip);
        ck_spread(d.level, &strip);
        ck_differentiate(&d, &strip, CK_MASK_NONE, CK_ACTIVATION_NONE, type);
    }
}

CK_INLINE void backward_samples(
    const ck_group_norm_backward_arguments *a, size_t part, const ck_element type) {
    const size_t channels = a->channels;
    const size_t begin = a->batch * part / a->parts, end = a->batch * (part + 1) / a->parts;
    double *sums = a->scratch + part * 4 * channels, *products = sums + channels;
    double *shift_sums = products + channels, *scale_sums = shift_sums + channels;
    for (size_t c = 0; c < channels; c++) shift_sums[c] = scale_sums[c] = 0;
    for (size_t sample = begin; sample < end; sample++) {
        sample_gradients(a, sample, sums, products, type);
        finish_sample(a, sample, sums, products, shift_sums, scale_sums);
        differentiate_sample(a, sample, sums, products, type);
    }
}

CK_CLONES
static void backward_part(const void *pointer, size_t part) {
    const ck_group_norm_backward_arguments *a = pointer;
    if (a->type == CK_BFLOAT16) backward_samples(a, part, CK_BFLOAT16);
    else backward_samples(a, part, CK_FLOAT32);
}

void ck_group_norm_backward(const ck_group_norm_backward_arguments *a) {
    const size_t channels = a->channels;
    ck_for_parts(backward_part, a, a->parts, a->batch * a->area * channels);
    if (!a->scale) return;
    for (size_t c = 0; c < channels; c++) {
        double shift = 0, scale = 0;
        for (size_t part = 0; part < a->parts; part++) {
            shift += a->scratch[(part * 4 + 2) * channels + c];
            scale += a->scratch[(part * 4 + 3) * channels + c];
        }
        a->shift_gradient[c] = (float)shift;
        a->scale_gradient[c] = (float)scale;
    }
}
