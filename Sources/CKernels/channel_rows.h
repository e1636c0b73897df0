#pragma once
#include "activation.h"

// Loops over channels-last rows, [rows, channels], with something to know or to sum for each channel.
//
// A strip is up to CK_SPAN channels of all rows. Where there are fewer channels, several rows are taken
// together as one span with what is known of the channels repeated, so that the inner loops are long anyway.

/// What is held for each element of a span are arrays of 2 KB: a handful of them stay in the nearest cache.
enum { CK_SPAN = 512 };
/// Spans that are summed in float32 before their sums are added up in double.
enum { CK_FLUSHED_SPANS = 256 };

typedef struct {
    /// The first element, that is the first row's `first` channel.
    size_t start;
    size_t channels;
    /// Rows in a span.
    size_t copies;
    /// Elements in a span, and from one span to the next.
    size_t length, stride;
    /// Full spans, and elements of a last shorter one.
    size_t full, tail;
} ck_strip;

/// The strip from channel `first` on of `rows` >= 1 rows of `channels` that begin at element `start`.
CK_INLINE ck_strip ck_make_strip(size_t start, size_t rows, size_t channels, size_t first) {
    const size_t rest = channels - first, width = rest < CK_SPAN ? rest : CK_SPAN;
    const size_t fitting = width == channels ? CK_SPAN / channels : 1;
    const size_t copies = fitting < rows ? fitting : rows;
    const ck_strip strip = {
        .start = start + first,
        .channels = width,
        .copies = copies,
        .length = copies * width,
        .stride = copies * channels,
        .full = rows / copies,
        .tail = rows % copies * width,
    };
    return strip;
}

/// Repeats the first `channels` values over a span.
CK_INLINE void ck_spread(float *values, const ck_strip *strip) {
    for (size_t i = strip->channels; i < strip->length; i += strip->channels)
        __builtin_memcpy(values + i, values, strip->channels * sizeof *values);
}

/// Adds a span's float sums to the channels' and clears them.
CK_INLINE void ck_flush(float *values, double *sums, const ck_strip *strip, size_t count) {
    for (size_t begin = 0; begin < count; begin += strip->channels)
        for (size_t c = 0; c < strip->channels; c++) sums[c] += (double)values[begin + c];
    for (size_t i = 0; i < count; i++) values[i] = 0;
}

// ---- Moments

typedef struct {
    const void *input;
    /// Near the mean, so that nothing cancels in the variance.
    float center[CK_SPAN];
    float sum[CK_SPAN];
    float square[CK_SPAN];
} ck_moments;

/// The distances from the center of element `j` of `count` spans of which the first begins at `index`.
CK_INLINE void ck_moment_spans(
    ck_moments *m, size_t index, size_t stride, size_t length, const int count, const ck_element type) {
    const void *input = m->input;
    CK_INDEPENDENT
    for (size_t j = 0; j < length; j++) {
        float sum = 0, square = 0;
        for (int span = 0; span < count; span++) {
            const float d = ck_load(input, index + (size_t)span * stride + j, type) - m->center[j];
            sum += d;
            square += d * d;
        }
        m->sum[j] += sum;
        m->square[j] += square;
    }
}

/// sums += sum of (x - center), squares += sum of (x - center)^2 for each channel of a strip.
CK_INLINE void ck_add_moments(
    ck_moments *m, const ck_strip *strip, double *sums, double *squares, const ck_element type) {
    const size_t stride = strip->stride;
    for (size_t i = 0; i < strip->length; i++) m->sum[i] = m->square[i] = 0;
    size_t span = 0;
    while (span < strip->full) {
        const size_t stop = span + CK_FLUSHED_SPANS < strip->full ? span + CK_FLUSHED_SPANS : strip->full;
        for (; span + 4 <= stop; span += 4)
            ck_moment_spans(m, strip->start + span * stride, stride, strip->length, 4, type);
        for (; span < stop; span++)
            ck_moment_spans(m, strip->start + span * stride, stride, strip->length, 1, type);
        ck_flush(m->sum, sums, strip, strip->length);
        ck_flush(m->square, squares, strip, strip->length);
    }
    ck_moment_spans(m, strip->start + span * stride, stride, strip->tail, 1, type);
    ck_flush(m->sum, sums, strip, strip->tail);
    ck_flush(m->square, squares, strip, strip->tail);
}

// ---- output = activation((input - mean) * factor + offset + residual)

typedef struct {
    const void *input;
    /// NULL without.
    const void *residual;
    /// May be `input` or `residual`.
    void *output;
    float mean[CK_SPAN];
    float factor[CK_SPAN];
    float offset[CK_SPAN];
    /// An activation of the output, in place, span by span; of kind NONE without.
    ck_activation_arguments behind;
} ck_normalizing;

/// The one expression, so that a backward pass finds the very sign that the forward pass saw.
CK_INLINE float ck_normalized(float x, float mean, float factor, float offset) {
    return (x - mean) * factor + offset;
}

CK_INLINE void ck_normalize(
    const ck_normalizing *n, const ck_strip *strip, const int has_residual, const ck_activation activation,
    const ck_element type) {
    const void *input = n->input, *residual = n->residual;
    void *output = n->output;
    for (size_t span = 0; span <= strip->full; span++) {
        const size_t index = strip->start + span * strip->stride;
        const size_t count = span < strip->full ? strip->length : strip->tail;
        CK_INDEPENDENT
        for (size_t j = 0; j < count; j++) {
            float y = ck_normalized(ck_load(input, index + j, type), n->mean[j], n->factor[j], n->offset[j]);
            if (has_residual) y += ck_load(residual, index + j, type);
            ck_store(output, index + j, ck_activate(y, activation, 0), type);
        }
        if (n->behind.kind != CK_ACTIVATION_NONE) ck_activate_some(&n->behind, index, index + count);
    }
}

// ---- The gradients behind it

/// Where the activation's derivative is taken from.
typedef int32_t ck_mask;
enum { CK_MASK_NONE = 0, CK_MASK_RECOMPUTED = 1, CK_MASK_OUTPUT = 2 };

typedef struct {
    const void *input;
    const void *gradient_out;
    /// Of CK_MASK_OUTPUT.
    const void *output;
    /// Takes gradient_out behind the activation, unless NULL; may be `gradient_out`.
    void *masked;
    /// May be `gradient_out`.
    void *gradient_in;
    float mean[CK_SPAN];
    float factor[CK_SPAN];
    float offset[CK_SPAN];
    float sum[CK_SPAN];
    float product[CK_SPAN];
    /// gradient_in = factor * g + (input - mean) * slope + level.
    float slope[CK_SPAN];
    float level[CK_SPAN];
    /// The gradients of an activation of (input - mean) * factor + offset: from its `gradient_out` to its
    /// `gradient_in`, which is this one's `gradient_out`; of kind NONE without.
    ck_activation_backward_arguments behind;
} ck_differentiating;

/// Brings the gradients of some spans back through the activation, whose inputs are made again.
CK_INLINE void ck_pass_activation(
    const ck_differentiating *d, size_t index, size_t stride, size_t length, const int count,
    const ck_element type) {
    const size_t size = type == CK_BFLOAT16 ? sizeof(uint16_t) : sizeof(float);
    float inputs[CK_SPAN];
    for (int span = 0; span < count; span++) {
        const size_t from = index + (size_t)span * stride;
        for (size_t j = 0; j < length; j++) {
            const float x = ck_load(d->input, from + j, type);
            ck_store(inputs, j, ck_normalized(x, d->mean[j], d->factor[j], d->offset[j]), type);
        }
        ck_activation_backward_arguments some = d->behind;
        some.gradient_out = (const char *)some.gradient_out + from * size;
        some.gradient_in = (char *)some.gradient_in + from * size;
        ck_differentiate_inputs(&some, inputs, length);
    }
}

CK_INLINE float ck_masked_gradient(
    const ck_differentiating *d, size_t index, size_t j, const ck_mask mask, const ck_activation activation,
    const ck_element type) {
    const float gradient = ck_load(d->gradient_out, index, type);
    if (mask == CK_MASK_NONE) return gradient;
    if (mask == CK_MASK_OUTPUT)
        return ck_activation_gradient(ck_load(d->output, index, type), gradient, activation, 0);
    const float x = ck_load(d->input, index, type);
    const float y = ck_normalized(x, d->mean[j], d->factor[j], d->offset[j]);
    return ck_activation_gradient(y, gradient, activation, 0);
}

CK_INLINE void ck_gradient_spans(
    ck_differentiating *d, size_t index, size_t stride, size_t length, const int count, const ck_mask mask,
    const ck_activation activation, const int stores, const ck_element type) {
    if (d->behind.kind != CK_ACTIVATION_NONE) ck_pass_activation(d, index, stride, length, count, type);
    CK_INDEPENDENT
    for (size_t j = 0; j < length; j++) {
        float sum = 0, product = 0;
        for (int span = 0; span < count; span++) {
            const size_t i = index + (size_t)span * stride + j;
            const float g = ck_masked_gradient(d, i, j, mask, activation, type);
            sum += g;
            product += g * (ck_load(d->input, i, type) - d->mean[j]);
            if (stores) ck_store(d->masked, i, g, type);
        }
        d->sum[j] += sum;
        d->product[j] += product;
    }
}

/// sums += sum of g, products += sum of g * (x - mean) for each channel of a strip, g being the gradient
/// behind the activation, which is stored as well when asked.
CK_INLINE void ck_add_gradients(
    ck_differentiating *d, const ck_strip *strip, double *sums, double *products, const ck_mask mask,
    const ck_activation activation, const int stores, const ck_element type) {
    const size_t stride = strip->stride, length = strip->length;
    for (size_t i = 0; i < length; i++) d->sum[i] = d->product[i] = 0;
    size_t span = 0;
    while (span < strip->full) {
        const size_t stop = span + CK_FLUSHED_SPANS < strip->full ? span + CK_FLUSHED_SPANS : strip->full;
        for (; span + 4 <= stop; span += 4)
            ck_gradient_spans(
                d, strip->start + span * stride, stride, length, 4, mask, activation, stores, type);
        for (; span < stop; span++)
            ck_gradient_spans(
                d, strip->start + span * stride, stride, length, 1, mask, activation, stores, type);
        ck_flush(d->sum, sums, strip, length);
        ck_flush(d->product, products, strip, length);
    }
    ck_gradient_spans(
        d, strip->start + span * stride, stride, strip->tail, 1, mask, activation, stores, type);
    ck_flush(d->sum, sums, strip, strip->tail);
    ck_flush(d->product, products, strip, strip->tail);
}

CK_INLINE void ck_differentiate(
    const ck_differentiating *d, const ck_strip *strip, const ck_mask mask, const ck_activation activation,
    const ck_element type) {
    const void *input = d->input;
    void *gradient_in = d->gradient_in;
    for (size_t span = 0; span <= strip->full; span++) {
        const size_t index = strip->start + span * strip->stride;
        const size_t count = span < strip->full ? strip->length : strip->tail;
        CK_INDEPENDENT
        for (size_t j = 0; j < count; j++) {
            const float g = ck_masked_gradient(d, index + j, j, mask, activation, type);
            const float distance = ck_load(input, index + j, type) - d->mean[j];
            const float value = d->factor[j] * g + (distance * d->slope[j] + d->level[j]);
            ck_store(gradient_in, index + j, value, type);
        }
    }
}
