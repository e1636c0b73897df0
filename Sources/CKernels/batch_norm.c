#include "channel_rows.h"
#include "parts.h"
#include <math.h>

/// The rows of a part.
static size_t part_begin(size_t rows, size_t part, size_t parts) { return rows * part / parts; }

// ---- Training: moments by part, their sums by channel, then one pass that normalises.

CK_INLINE void add_part_moments(const ck_batch_norm_arguments *a, size_t part, const ck_element type) {
    const size_t channels = a->channels;
    const size_t begin = part_begin(a->rows, part, a->parts), end = part_begin(a->rows, part + 1, a->parts);
    double *sums = a->scratch + part * 2 * channels, *squares = sums + channels;
    for (size_t c = 0; c < 2 * channels; c++) sums[c] = 0;
    ck_moments moments = {.input = a->input};
    for (size_t first = 0; first < channels; first += CK_SPAN) {
        const ck_strip strip = ck_make_strip(begin * channels, end - begin, channels, first);
        for (size_t c = 0; c < strip.channels; c++) moments.center[c] = a->saved[first + c];
        ck_spread(moments.center, &strip);
        ck_add_moments(&moments, &strip, sums + first, squares + first, type);
    }
}

CK_CLONES
static void moments_part(const void *pointer, size_t part) {
    const ck_batch_norm_arguments *a = pointer;
    if (a->type == CK_BFLOAT16) add_part_moments(a, part, CK_BFLOAT16);
    else add_part_moments(a, part, CK_FLOAT32);
}

/// The mean of the first rows, so that a variance is not the difference of two large numbers.
CK_CLONES
static void choose_centers(const ck_batch_norm_arguments *a) {
    const size_t channels = a->channels, rows = a->rows < 8 ? a->rows : 8;
    for (size_t c = 0; c < channels; c++) {
        float sum = 0;
        for (size_t row = 0; row < rows; row++) sum += ck_load(a->input, row * channels + c, a->type);
        a->saved[c] = sum / (float)rows;
    }
}

CK_CLONES
static void finish_moments(const ck_batch_norm_arguments *a) {
    const size_t channels = a->channels;
    const double count = (double)a->rows, inverse = 1 / count;
    const float momentum = a->momentum, kept = 1 - momentum;
    const double correction = count > 1 ? count / (count - 1) : 1;
    double *sums = a->scratch, *squares = sums + channels;
    for (size_t part = 1; part < a->parts; part++) {
        const double *more = a->scratch + part * 2 * channels;
        for (size_t i = 0; i < 2 * channels; i++) sums[i] += more[i];
    }
    float *means = a->saved, *residues = means + channels, *deviations = residues + channels;
    for (size_t c = 0; c < channels; c++) {
        const double distance = sums[c] * inverse;
        const double mean = (double)means[c] + distance;
        const double spread = squares[c] * inverse - distance * distance;
        const double variance = spread < 0 ? 0 : spread;
        means[c] = (float)mean;
        residues[c] = (float)(mean - (double)means[c]);
        deviations[c] = (float)(1 / sqrt(variance + (double)a->epsilon));
        a->running_mean[c] = kept * a->running_mean[c] + momentum * means[c];
        a->running_variance[c] = kept * a->running_variance[c] + momentum * (float)(variance * correction);
    }
}

// ---- The pass that normalises, by the batch's statistics or by the running ones.

/// `deviation` is 1 / sqrt(variance + epsilon), `residue` what the mean lost when it was rounded.
CK_INLINE void set_coefficients(
    float *factor, float *offset, size_t c, float scale, float shift, float deviation, float residue) {
    factor[c] = scale * deviation;
    offset[c] = shift - residue * factor[c];
}

CK_INLINE void normalize_part(
    const ck_batch_norm_arguments *a, size_t part, const int training, const int has_residual,
    const ck_activation activation, const ck_element type) {
    const size_t channels = a->channels;
    const size_t begin = part_begin(a->rows, part, a->parts), end = part_begin(a->rows, part + 1, a->parts);
    ck_normalizing n = {.input = a->input, .residual = a->residual, .output = a->output};
    n.behind = (ck_activation_arguments){
        .input = a->output, .output = a->output, .kind = a->following, .type = type, .slope = a->slope};
    for (size_t first = 0; first < channels; first += CK_SPAN) {
        const ck_strip strip = ck_make_strip(begin * channels, end - begin, channels, first);
        const float *scale = a->scale + first, *shift = a->shift + first;
        const float *saved = a->saved + first, *variance = a->running_variance + first;
        for (size_t c = 0; c < strip.channels; c++) {
            n.mean[c] = training ? saved[c] : a->running_mean[first + c];
            const float deviation = training ? saved[2 * channels + c] : 1 / sqrtf(variance[c] + a->epsilon);
            const float residue = training ? saved[channels + c] : 0;
            set_coefficients(n.factor, n.offset, c, scale[c], shift[c], deviation, residue);
        }
        ck_spread(n.mean, &strip);
        ck_spread(n.factor, &strip);
        ck_spread(n.offset, &strip);
        ck_normalize(&n, &strip, has_residual, activation, type);
    }
}

/// Makes a loop of its own for each activation and residual.
CK_INLINE void choose_normalize_part(
    const ck_batch_norm_arguments *a, size_t part, const int training, const ck_element type) {
    const int has_residual = a->residual != NULL;
    switch (a->activation) {
    case CK_ACTIVATION_RELU:
        if (has_residual) normalize_part(a, part, training, 1, CK_ACTIVATION_RELU, type);
        else normalize_part(a, part, training, 0, CK_ACTIVATION_RELU, type);
        break;
    case CK_ACTIVATION_RELU6:
        if (has_residual) normalize_part(a, part, training, 1, CK_ACTIVATION_RELU6, type);
        else normalize_part(a, part, training, 0, CK_ACTIVATION_RELU6, type);
        break;
    default:
        if (has_residual) normalize_part(a, part, training, 1, CK_ACTIVATION_NONE, type);
        else normalize_part(a, part, training, 0, CK_ACTIVATION_NONE, type);
    }
}

CK_CLONES
static void normalize_by_batch(const void *pointer, size_t part) {
    const ck_batch_norm_arguments *a = pointer;
    if (a->type == CK_BFLOAT16) choose_normalize_part(a, part, 1, CK_BFLOAT16);
    else choose_normalize_part(a, part, 1, CK_FLOAT32);
}

CK_CLONES
static void normalize_by_running(const void *pointer, size_t part) {
    const ck_batch_norm_arguments *a = pointer;
    if (a->type == CK_BFLOAT16) choose_normalize_part(a, part, 0, CK_BFLOAT16);
    else choose_normalize_part(a, part, 0, CK_FLOAT32);
}

static void take_statistics(const ck_batch_norm_arguments *a) {
    choose_centers(a);
    ck_for_parts(moments_part, a, a->parts, a->rows * a->channels);
    finish_moments(a);
}

void ck_batch_norm_training(const ck_batch_norm_arguments *a) {
    take_statistics(a);
    ck_for_parts_backwards(normalize_by_batch, a, a->parts, a->rows * a->channels);
}

CK_CLONES
static void write_coefficients(const ck_batch_norm_arguments *a) {
    const size_t channels = a->channels;
    const float *means = a->saved, *residues = means + channels, *deviations = residues + channels;
    float *factors = a->coefficients + channels, *offsets = factors + channels;
    for (size_t c = 0; c < channels; c++) {
        a->coefficients[c] = means[c];
        set_coefficients(factors, offsets, c, a->scale[c], a->shift[c], deviations[c], residues[c]);
    }
}

void ck_batch_norm_statistics(const ck_batch_norm_arguments *a) {
    take_statistics(a);
    write_coefficients(a);
}

void ck_batch_norm_repeat(const ck_batch_norm_arguments *a) {
    ck_for_parts(normalize_by_batch, a, a->parts, a->rows * a->channels);
}

void ck_batch_norm_inference(const ck_batch_norm_arguments *a) {
    ck_for_parts(normalize_by_running, a, a->parts, a->rows * a->channels);
}

// ---- Backward: sums by part, the gradients of scale and shift, then one pass.

/// The activation's derivative comes from the output only when a residual is part of it.
CK_INLINE ck_mask mask_of(const ck_batch_norm_backward_arguments *a) {
    return a->activation == CK_ACTIVATION_NONE ? CK_MASK_NONE
           : a->residual_gradient              ? CK_MASK_OUTPUT
                                               : CK_MASK_RECOMPUTED;
}

CK_INLINE void set_strip(
    ck_differentiating *d, const ck_batch_norm_backward_arguments *a, const ck_strip *strip, size_t first) {
    const float *saved = a->saved + first;
    for (size_t c = 0; c < strip->channels; c++) {
        d->mean[c] = saved[c];
        const float residue = saved[a->channels + c], deviation = saved[2 * a->channels + c];
        set_coefficients(
            d->factor, d->offset, c, a->scale[first + c], a->shift[first + c], deviation, residue);
    }
    ck_spread(d->mean, strip);
    ck_spread(d->factor, strip);
    ck_spread(d->offset, strip);
}

CK_INLINE void add_part_gradients(
    const ck_batch_norm_backward_arguments *a, size_t part, const ck_mask mask,
    const ck_activation activation, const ck_element type) {
    const size_t channels = a->channels;
    const size_t begin = part_begin(a->rows, part, a->parts), end = part_begin(a->rows, part + 1, a->parts);
    double *sums = a->scratch + part * 2 * channels, *products = sums + channels;
    for (size_t c = 0; c < 2 * channels; c++) sums[c] = 0;
    ck_differentiating d = {
        .input = a->input,
        .gradient_out = a->gradient_out,
        .output = a->output,
        .masked = a->residual_gradient,
    };
    if (a->following != CK_ACTIVATION_NONE) {
        d.gradient_out = a->gradient_in;
        d.behind = (ck_activation_backward_arguments){
            .gradient_out = a->gradient_out,
            .gradient_in = a->gradient_in,
            .kind = a->following,
            .type = type,
            .slope = a->slope,
        };
    }
    for (size_t first = 0; first < channels; first += CK_SPAN) {
        const ck_strip strip = ck_make_strip(begin * channels, end - begin, channels, first);
        set_strip(&d, a, &strip, first);
        ck_add_gradients(
            &d, &strip, sums + first, products + first, mask, activation, mask == CK_MASK_OUTPUT, type);
    }
}

/// gradient_in = factor * (g - mean of g - normalised input * mean of (g * normalised input))
CK_INLINE void set_slope(
    const ck_batch_norm_backward_arguments *a, size_t c, float factor, float *slope, float *level) {
    const float residue = a->saved[a->channels + c], deviation = a->saved[2 * a->channels + c];
    const float mean_factor = factor * (1 / (float)a->rows);
    *slope = -mean_factor * deviation * a->scale_gradient[c];
    *level = -mean_factor * a->shift_gradient[c] - residue * *slope;
}

/// The gradient behind what the first pass has dealt with.
static const void *gradient_behind(const ck_batch_norm_backward_arguments *a) {
    if (a->residual_gradient) return a->residual_gradient;
    return a->following == CK_ACTIVATION_NONE ? a->gradient_out : a->gradient_in;
}

CK_INLINE void differentiate_part(
    const ck_batch_norm_backward_arguments *a, size_t part, const ck_mask mask,
    const ck_activation activation, const ck_element type) {
    const size_t channels = a->channels;
    const size_t begin = part_begin(a->rows, part, a->parts), end = part_begin(a->rows, part + 1, a->parts);
    ck_differentiating d = {
        .input = a->input,
        .gradient_out = gradient_behind(a),
        .gradient_in = a->gradient_in,
    };
    for (size_t first = 0; first < channels; first += CK_SPAN) {
        const ck_strip strip = ck_make_strip(begin * channels, end - begin, channels, first);
        set_strip(&d, a, &strip, first);
        for (size_t c = 0; c < strip.channels; c++)
            set_slope(a, first + c, d.factor[c], &d.slope[c], &d.level[c]);
        ck_spread(d.slope, &strip);
        ck_spread(d.level, &strip);
        ck_differentiate(&d, &strip, mask, activation, type);
    }
}

/// Calls `body` with the mask, the activation and the element type constant.
#define EACH_MASK(body, mask, type)                                                                          \
    switch (mask) {                                                                                          \
    case CK_MASK_NONE: body(a, part, CK_MASK_NONE, CK_ACTIVATION_NONE, type); break;                         \
    case CK_MASK_OUTPUT:                                                                                     \
        if (a->activation == CK_ACTIVATION_RELU) body(a, part, CK_MASK_OUTPUT, CK_ACTIVATION_RELU, type);    \
        else body(a, part, CK_MASK_OUTPUT, CK_ACTIVATION_RELU6, type);                                       \
        break;                                                                                               \
    default:                                                                                                 \
        if (a->activation == CK_ACTIVATION_RELU) body(a, part, CK_MASK_RECOMPUTED, CK_ACTIVATION_RELU, type);\
        else body(a, part, CK_MASK_RECOMPUTED, CK_ACTIVATION_RELU6, type);                                   \
    }

CK_CLONES
static void gradients_part(const void *pointer, size_t part) {
    const ck_batch_norm_backward_arguments *a = pointer;
    if (a->type == CK_BFLOAT16) {
        EACH_MASK(add_part_gradients, mask_of(a), CK_BFLOAT16)
    } else {
        EACH_MASK(add_part_gradients, mask_of(a), CK_FLOAT32)
    }
}

CK_CLONES
static void gradient_in_part(const void *pointer, size_t part) {
    const ck_batch_norm_backward_arguments *a = pointer;
    // What was stored for the residual is behind the activation already.
    const ck_mask mask = a->residual_gradient ? CK_MASK_NONE : mask_of(a);
    if (a->type == CK_BFLOAT16) {
        EACH_MASK(differentiate_part, mask, CK_BFLOAT16)
    } else {
        EACH_MASK(differentiate_part, mask, CK_FLOAT32)
    }
}

CK_CLONES
static void finish_gradients(const ck_batch_norm_backward_arguments *a) {
    const size_t channels = a->channels;
    double *sums = a->scratch, *products = sums + channels;
    for (size_t part = 1; part < a->sum_parts; part++) {
        const double *more = a->scratch + part * 2 * channels;
        for (size_t i = 0; i < 2 * channels; i++) sums[i] += more[i];
    }
    const float *residues = a->saved + channels, *deviations = residues + channels;
    for (size_t c = 0; c < channels; c++) {
        const double product = products[c] - (double)residues[c] * sums[c];
        a->scale_gradient[c] = (float)(product * (double)deviations[c]);
        a->shift_gradient[c] = (float)sums[c];
    }
}

void ck_batch_norm_backward(const ck_batch_norm_backward_arguments *a) {
    const size_t elements = a->rows * a->channels;
    ck_for_parts(gradients_part, a, a->parts, elements);
    finish_gradients(a);
    ck_for_parts_backwards(gradient_in_part, a, a->parts, elements);
}

CK_CLONES
static void write_backward_coefficients(const ck_batch_norm_backward_arguments *a) {
    const size_t channels = a->channels;
    const float *means = a->saved, *residues = means + channels, *deviations = residues + channels;
    float *factors = a->coefficients + channels, *offsets = factors + channels;
    float *slopes = offsets + channels, *levels = slopes + channels;
    for (size_t c = 0; c < channels; c++) {
        a->coefficients[c] = means[c];
        set_coefficients(factors, offsets, c, a->scale[c], a->shift[c], deviations[c], residues[c]);
        set_slope(a, c, factors[c], &slopes[c], &levels[c]);
    }
}

void ck_batch_norm_backward_sums(const ck_batch_norm_backward_arguments *a) {
    ck_for_parts(gradients_part, a, a->parts, a->rows * a->channels);
    finish_gradients(a);
    write_backward_coefficients(a);
}

void ck_batch_norm_backward_input(const ck_batch_norm_backward_arguments *a) {
    finish_gradients(a);
    ck_for_parts(gradient_in_part, a, a->parts, a->rows * a->channels);
}
