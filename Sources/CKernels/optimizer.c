#include "CKernelsOptimizer.h"
#include "internal.h"

/// The regions never overlap, which the compiler cannot see through a struct's members.
#define SAFE _Pragma("clang loop vectorize(assume_safety)")

/// What one segment's loop reads; the regions begin at the segment's first element.
typedef struct {
    float *weight;
    const float *gradient;
    float *first;
    float *second;
    float *average;
    float rate;
    float decay;
    float scale;
} segment_view;

/// Follows the updated weight where there is an average; `averages` is a constant.
CK_INLINE void follow(
    const ck_update_arguments *a, const segment_view *v, size_t i, float w, const int averages) {
    if (averages) v->average[i] += a->average_rate * (w - v->average[i]);
}

CK_INLINE void sgd(
    const ck_update_arguments *a, segment_view v, size_t begin, size_t end, const int averages) {
    const float momentum = a->momentum;
    if (!v.first) {
        SAFE
        for (size_t i = begin; i < end; i++) {
            float w = v.weight[i] - v.rate * (v.gradient[i] * v.scale + v.decay * v.weight[i]);
            v.weight[i] = w;
            follow(a, &v, i, w, averages);
        }
    } else if (a->nesterov) {
        SAFE
        for (size_t i = begin; i < end; i++) {
            float g = v.gradient[i] * v.scale + v.decay * v.weight[i];
            float velocity = momentum * v.first[i] + g;
            float w = v.weight[i] - v.rate * (g + momentum * velocity);
            v.first[i] = velocity;
            v.weight[i] = w;
            follow(a, &v, i, w, averages);
        }
    } else {
        SAFE
        for (size_t i = begin; i < end; i++) {
            float g = v.gradient[i] * v.scale + v.decay * v.weight[i];
            float velocity = momentum * v.first[i] + g;
            float w = v.weight[i] - v.rate * velocity;
            v.first[i] = velocity;
            v.weight[i] = w;
            follow(a, &v, i, w, averages);
        }
    }
}

CK_INLINE void adam(
    const ck_update_arguments *a, segment_view v, size_t begin, size_t end, const int averages,
    const int is_decoupled) {
    const float rate = v.rate / a->state->bias_correction1;
    const float root = 1 / a->state->bias_correction2_root;
    const float kept = is_decoupled ? 1 - v.rate * v.decay : 1, decay = is_decoupled ? 0 : v.decay;
    const float beta2 = a->beta2, new1 = a->one_minus_beta1, new2 = a->one_minus_beta2, epsilon = a->epsilon;
    SAFE
    for (size_t i = begin; i < end; i++) {
        float g = v.gradient[i] * v.scale + decay * v.weight[i];
        float m = v.first[i] + new1 * (g - v.first[i]);
        float square = beta2 * v.second[i] + new2 * g * g;
        // The builtin sets no errno, which would keep the loop from vectorising.
        float w = v.weight[i] * kept - rate * m / (__builtin_elementwise_sqrt(square) * root + epsilon);
        v.first[i] = m;
        v.second[i] = square;
        v.weight[i] = w;
        follow(a, &v, i, w, averages);
    }
}

CK_INLINE void lion(
    const ck_update_arguments *a, segment_view v, size_t begin, size_t end, const int averages) {
    const float kept = 1 - v.rate * v.decay, rate = v.rate;
    const float beta1 = a->beta1, beta2 = a->beta2, new1 = a->one_minus_beta1, new2 = a->one_minus_beta2;
    SAFE
    for (size_t i = begin; i < end; i++) {
        float g = v.gradient[i] * v.scale;
        float direction = beta1 * v.first[i] + new1 * g;
        // 0 and NaN are their own sign.
        float sign = direction > 0 ? 1.0f : direction < 0 ? -1.0f : direction;
        float w = v.weight[i] * kept - rate * sign;
        v.first[i] = beta2 * v.first[i] + new2 * g;
        v.weight[i] = w;
        follow(a, &v, i, w, averages);
    }
}

CK_INLINE void rmsprop(
    const ck_update_arguments *a, segment_view v, size_t begin, size_t end, const int averages) {
    const float rate = v.rate, decay = v.decay, momentum = a->momentum;
    const float beta2 = a->beta2, new2 = a->one_minus_beta2, epsilon = a->epsilon;
    SAFE
    for (size_t i = begin; i < end; i++) {
        float g = v.gradient[i] * v.scale + decay * v.weight[i];
        float square = beta2 * v.first[i] + new2 * g * g;
        float step = g / (__builtin_elementwise_sqrt(square) + epsilon);
        v.first[i] = square;
        if (v.second) {
            step = momentum * v.second[i] + step;
            v.second[i] = step;
        }
        float w = v.weight[i] - rate * step;
        v.weight[i] = w;
        follow(a, &v, i, w, averages);
    }
}

CK_INLINE void update(
    const ck_update_arguments *a, segment_view v, size_t begin, size_t end, const int averages) {
    switch (a->rule) {
    case CK_SGD: sgd(a, v, begin, end, averages); break;
    case CK_ADAM: adam(a, v, begin, end, averages, 0); break;
    case CK_ADAMW: adam(a, v, begin, end, averages, 1); break;
    case CK_LION: lion(a, v, begin, end, averages); break;
    default: rmsprop(a, v, begin, end, averages); break;
    }
}

/// Updates elements `begin` to `end` of the segments laid end to end.
CK_CLONES
static void update_range(const void *pointer, size_t begin, size_t end) {
    const ck_update_arguments *a = pointer;
    const float scale = a->clip ? a->clip->scale : 1;
    size_t first = 0;
    for (size_t s = 0; s < a->segment_count && first < end; first += a->segments[s].count, s++) {
        const ck_segment *segment = &a->segments[s];
        const size_t low = begin > first ? begin - first : 0;
        const size_t high = end - first < segment->count ? end - first : segment->count;
        if (low >= high) continue;
        const size_t offset = segment->offset;
        const segment_view view = {
            .weight = a->weight + offset,
            .gradient = a->gradient + offset,
            .first = a->first ? a->first + offset : NULL,
            .second = a->second ? a->second + offset : NULL,
            .average = a->average ? a->average + offset : NULL,
            .rate = a->state->learning_rate * segment->rate_factor,
            .decay = segment->weight_decay,
            .scale = scale,
        };
        if (view.average) update(a, view, low, high, 1);
        else update(a, view, low, high, 0);
    }
}

void ck_update(const ck_update_arguments *arguments) {
    ck_for_range(update_range, arguments, arguments->count, 1);
}
