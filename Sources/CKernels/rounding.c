#include "internal.h"
#include "codes.h"
#include <float.h>
#include <math.h>

enum { THREADS_MAX = 1024 };

typedef struct {
    const ck_follow_range_arguments *arguments;
    float bounds[THREADS_MAX][2];
} bounds_call;

static void bounds_part(void *pointer, int thread, int threads) {
    bounds_call *call = pointer;
    const ck_follow_range_arguments *a = call->arguments;
    if (thread >= THREADS_MAX) return;
    const size_t begin = a->count * (size_t)thread / (size_t)threads;
    const size_t end = a->count * ((size_t)thread + 1) / (size_t)threads;
    float *bounds = call->bounds[thread];
    (bounds[0] = INFINITY, bounds[1] = -INFINITY);
    ck_widen_range(a->input + begin, end - begin, bounds);
}

static int is_normal(double number) { return number >= FLT_MIN && number <= FLT_MAX; }

/// The scale and the code of zero, by the arithmetic of `ActivationScale`; they stay where there are none.
static void follow_scale(const ck_follow_range_arguments *a, ck_range *range) {
    const double below = range->low < 0 ? range->low : 0, above = range->high > 0 ? range->high : 0;
    const double codes = a->code_max;
    double step, zero;
    if (a->is_symmetric) {
        zero = floor((codes + 1) / 2);
        step = (-below > above ? -below : above) / (codes - zero);
    } else {
        step = (above - below) / codes;
        zero = step > 0 ? rint(-below / step) : 0;
    }
    if (step == 0) step = 1;
    const float scale = (float)step;
    if (!is_normal(scale) || !is_normal(1 / scale)) return;
    range->scale = scale;
    range->zero_point = (float)(zero < 0 ? 0 : zero < codes ? zero : codes);
}

void ck_follow_range(const ck_follow_range_arguments *a) {
    if (!a->state->moves_ranges && a->range->scale > 0) return;
    bounds_call call = {.arguments = a};
    const int isSerial = a->count < CK_SERIAL_COUNT || ck_team_count() > THREADS_MAX;
    if (isSerial) bounds_part(&call, 0, 1);
    else ck_team_run(bounds_part, &call);
    float low = INFINITY, high = -INFINITY;
    const int parts = isSerial ? 1 : ck_team_count();
    for (int part = 0; part < parts; part++) {
        low = call.bounds[part][0] < low ? call.bounds[part][0] : low;
        high = call.bounds[part][1] > high ? call.bounds[part][1] : high;
    }
    if (!isfinite(low) || !isfinite(high)) return;
    ck_range *range = a->range;
    if (range->scale > 0) {
        range->low = (float)((double)range->low + a->rate * ((double)low - (double)range->low));
        range->high = (float)((double)range->high + a->rate * ((double)high - (double)range->high));
    } else {
        (range->low = low, range->high = high);
    }
    follow_scale(a, range);
}

CK_CLONES
static void round_range(const void *pointer, size_t begin, size_t end) {
    const ck_round_activations_arguments *a = pointer;
    const float scale = a->range->scale * a->factor, zero = a->range->zero_point, inverse = 1 / scale;
    const float high = (float)a->code_max, *input = a->input;
    float *output = a->output;
    CK_INDEPENDENT
    for (size_t i = begin; i < end; i++) {
        const float x = input[i];
        const float rounded = scale * (rintf(ck_clamped(ck_steps(x, inverse, zero), 0, high)) - zero);
        output[i] = x == x ? rounded : x;
    }
}

CK_CLONES
static void copy_range(const void *pointer, size_t begin, size_t end) {
    const ck_round_activations_arguments *a = pointer;
    CK_INDEPENDENT
    for (size_t i = begin; i < end; i++) a->output[i] = a->input[i];
}

void ck_round_activations(const ck_round_activations_arguments *a) {
    ck_for_range(a->range->scale > 0 ? round_range : copy_range, a, a->count, 1);
}

CK_CLONES
static void mask_range(const void *pointer, size_t begin, size_t end) {
    const ck_round_activations_backward_arguments *a = pointer;
    const float scale = a->range->scale * a->factor, zero = a->range->zero_point, inverse = 1 / scale;
    const float high = (float)a->code_max, *input = a->input;
    float *gradient = a->gradient;
    CK_INDEPENDENT
    for (size_t i = begin; i < end; i++) {
        const float code = rintf(ck_steps(input[i], inverse, zero));
        const float passing = gradient[i];
        gradient[i] = code >= 0 && code <= high ? passing : 0;
    }
}

void ck_round_activations_backward(const ck_round_activations_backward_arguments *a) {
    if (a->range->scale > 0) ck_for_range(mask_range, a, a->count, 1);
}

CK_CLONES
static void scale_rows(const void *pointer, size_t begin, size_t end) {
    const ck_round_weights_arguments *a = pointer;
    const double step = (double)a->range->scale * (double)(1 << 23);
    for (size_t row = begin; row < end; row++) {
        const double size = a->bias && a->range->scale > 0 ? fabs((double)a->bias[row]) / step : 0;
        const float least = (float)(size > 1e-30 ? size : 1e-30);
        const float own = ck_largest_size(a->weights + row * a->width, a->width) / 127;
        a->scales[row] = own > least ? own : least;
    }
}

CK_CLONES
static void round_rows(const void *pointer, size_t begin, size_t end) {
    const ck_round_weights_arguments *a = pointer;
    for (size_t row = begin; row < end; row++) {
        const float scale = a->scales[row], *weights = a->weights + row * a->width;
        float *output = a->output + row * a->width;
        CK_INDEPENDENT
        for (size_t i = 0; i < a->width; i++) {
            const float w = weights[i], rounded = rintf(ck_clamped(w / scale, -127, 127)) * scale;
            output[i] = w == w ? rounded : w;
        }
    }
}

void ck_round_weights(const ck_round_weights_arguments *a) {
    ck_for_units(scale_rows, a, a->rows, a->width);
    if (a->is_shared) {
        float shared = 0;
        for (size_t row = 0; row < a->rows; row++) shared = a->scales[row] > shared ? a->scales[row] : shared;
        for (size_t row = 0; row < a->rows; row++) a->scales[row] = shared;
    }
    ck_for_units(round_rows, a, a->rows, a->width);
}
