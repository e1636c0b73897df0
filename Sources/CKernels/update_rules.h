// How a gradient changes sixteen weights: the formulas of `ck_update_arguments`.
#pragma once
#include "CKernelsOptimizer.h"
#include "lane_values.h"
#include "masks.h"

/// What the formulas take in one step for one parameter.
typedef struct {
    float scale;
    float rate;
    /// Added to the gradient.
    float decay;
    /// What the weights are multiplied by.
    float kept;
    /// 1 / sqrt(1 - beta2^t).
    float root;
    float momentum;
    float beta1;
    float beta2;
    float new1;
    float new2;
    float epsilon;
    float average_rate;
} ck_rule_values;

/// A rule with all that it keeps: each is code of its own.
typedef enum {
    CK_BY_GRADIENT, CK_BY_VELOCITY, CK_BY_NESTEROV, CK_BY_MOMENTS, CK_BY_SIGN, CK_BY_ROOT, CK_BY_ROOT_VELOCITY
} ck_rule_kind;

CK_INLINE ck_rule_kind ck_kind_of_rule(const ck_update_arguments *a) {
    switch (a->rule) {
    case CK_SGD: return !a->first ? CK_BY_GRADIENT : a->nesterov ? CK_BY_NESTEROV : CK_BY_VELOCITY;
    case CK_ADAM: case CK_ADAMW: return CK_BY_MOMENTS;
    case CK_LION: return CK_BY_SIGN;
    default: return a->second ? CK_BY_ROOT_VELOCITY : CK_BY_ROOT;
    }
}

CK_INLINE ck_rule_values ck_values_of_rule(const ck_update_arguments *a, const ck_segment *segment) {
    const float rate = a->state->learning_rate * segment->rate_factor, decay = segment->weight_decay;
    const int isMoments = a->rule == CK_ADAM || a->rule == CK_ADAMW;
    const int isDecoupled = a->rule == CK_ADAMW || a->rule == CK_LION;
    return (ck_rule_values){
        .scale = 1,
        .rate = isMoments ? rate / a->state->bias_correction1 : rate,
        .decay = isDecoupled ? 0 : decay,
        .kept = isDecoupled ? 1 - rate * decay : 1,
        .root = 1 / a->state->bias_correction2_root,
        .momentum = a->momentum,
        .beta1 = a->beta1,
        .beta2 = a->beta2,
        .new1 = a->one_minus_beta1,
        .new2 = a->one_minus_beta2,
        .epsilon = a->epsilon,
        .average_rate = a->average_rate,
    };
}

/// The weights behind an update by `gradient`; `kind` is a constant. States that it lacks are not touched.
CK_INLINE ck_lanes ck_updated_weights(
    const ck_rule_values *r, const ck_rule_kind kind, ck_lanes weight, ck_lanes gradient, ck_lanes *first,
    ck_lanes *second) {
    const ck_lanes g = gradient * r->scale + r->decay * weight;
    switch (kind) {
    case CK_BY_GRADIENT: return weight - r->rate * g;
    case CK_BY_VELOCITY:
        *first = r->momentum * *first + g;
        return weight - r->rate * *first;
    case CK_BY_NESTEROV:
        *first = r->momentum * *first + g;
        return weight - r->rate * (g + r->momentum * *first);
    case CK_BY_MOMENTS:
        *first = *first + r->new1 * (g - *first);
        *second = r->beta2 * *second + r->new2 * g * g;
        return weight * r->kept
            - r->rate * *first / (__builtin_elementwise_sqrt(*second) * r->root + r->epsilon);
    case CK_BY_SIGN: {
        const ck_lanes direction = r->beta1 * *first + r->new1 * g;
        // 0 and NaN are their own sign.
        const ck_lanes sign = direction > 0.0f ? ck_splat(1) : direction < 0.0f ? ck_splat(-1) : direction;
        *first = r->beta2 * *first + r->new2 * g;
        return weight * r->kept - r->rate * sign;
    }
    default: {
        *first = r->beta2 * *first + r->new2 * g * g;
        ck_lanes step = g / (__builtin_elementwise_sqrt(*first) + r->epsilon);
        if (kind == CK_BY_ROOT_VELOCITY) step = *second = r->momentum * *second + step;
        return weight - r->rate * step;
    }
    }
}

/// A place in the regions that an update works on; those that a rule does not keep are NULL.
typedef struct {
    float *weight;
    float *first;
    float *second;
    float *average;
    const uint8_t *mask;
} ck_update_place;

CK_INLINE ck_update_place ck_place_of_update(const ck_update_arguments *a, size_t offset) {
    return (ck_update_place){
        a->weight + offset, a->first ? a->first + offset : NULL, a->second ? a->second + offset : NULL,
        a->average ? a->average + offset : NULL, a->mask ? a->mask + offset : NULL};
}

/// Updates `count` of at most 16 elements; `kind`, `averages` and `isMasked` are constants.
CK_INLINE void ck_update_some(
    const ck_rule_values *r, const ck_update_place *p, const float *gradient, size_t i, size_t count,
    const ck_rule_kind kind, const int averages, const int isMasked) {
    const int hasFirst = kind != CK_BY_GRADIENT;
    const int hasSecond = kind == CK_BY_MOMENTS || kind == CK_BY_ROOT_VELOCITY;
    ck_lanes g = ck_read_some(gradient, i, count, CK_FLOAT32);
    if (isMasked) g = ck_keep_masked(g, p->mask + i, count);
    ck_lanes w = ck_read_some(p->weight, i, count, CK_FLOAT32), first = 0, second = 0;
    if (hasFirst) first = ck_read_some(p->first, i, count, CK_FLOAT32);
    if (hasSecond) second = ck_read_some(p->second, i, count, CK_FLOAT32);
    w = ck_updated_weights(r, kind, w, g, &first, &second);
    ck_write_some(p->weight, i, count, w, CK_FLOAT32);
    if (hasFirst) ck_write_some(p->first, i, count, first, CK_FLOAT32);
    if (hasSecond) ck_write_some(p->second, i, count, second, CK_FLOAT32);
    if (averages) {
        const ck_lanes average = ck_read_some(p->average, i, count, CK_FLOAT32);
        ck_write_some(p->average, i, count, average + r->average_rate * (w - average), CK_FLOAT32);
    }
}
