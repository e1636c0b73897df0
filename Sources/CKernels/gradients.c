#include "CKernelsOptimizer.h"
#include "lanes.h"

enum { THREADS_MAX = 1024 };

typedef struct {
    const ck_gradient_norm_arguments *arguments;
    double sums[THREADS_MAX];
} norm_call;

CK_CLONES
static double sum_of_squares(const float *values, size_t count) {
    ck_wide_lanes sums = 0;
    for (size_t i = 0; i < count; i += CK_LANES) {
        ck_lanes some;
        ck_load_lanes(&some, values, i, count - i, 0, CK_FLOAT32);
        const ck_wide_lanes wide = __builtin_convertvector(some, ck_wide_lanes);
        sums += wide * wide;
    }
    double sum = 0;
    for (int lane = 0; lane < CK_LANES; lane++) sum += sums[lane];
    return sum;
}

static void norm_part(void *pointer, int thread, int threads) {
    norm_call *call = pointer;
    const ck_gradient_norm_arguments *a = call->arguments;
    const size_t begin = a->count * (size_t)thread / (size_t)threads;
    const size_t end = a->count * ((size_t)thread + 1) / (size_t)threads;
    double sum = 0;
    size_t first = 0;
    for (size_t s = 0; s < a->segment_count && first < end; first += a->segments[s].count, s++) {
        const size_t low = begin > first ? begin - first : 0;
        const size_t high = end - first < a->segments[s].count ? end - first : a->segments[s].count;
        if (low < high) sum += sum_of_squares(a->gradient + a->segments[s].offset + low, high - low);
    }
    if (thread < THREADS_MAX) call->sums[thread] = sum;
}

void ck_gradient_norm(const ck_gradient_norm_arguments *arguments) {
    norm_call call = {.arguments = arguments};
    // A team of more threads than there are places computes alone.
    const int isSerial = arguments->count < CK_SERIAL_COUNT || ck_team_count() > THREADS_MAX;
    if (isSerial) norm_part(&call, 0, 1);
    else ck_team_run(norm_part, &call);
    double sum = 0;
    const int parts = isSerial ? 1 : ck_team_count();
    for (int thread = 0; thread < parts; thread++) sum += call.sums[thread];
    const double norm = sqrt(sum), scale = arguments->norm_max / (norm + 1e-6);
    arguments->result->norm = norm;
    // Written so that NaN stays NaN; an infinite bound gives 1.
    arguments->result->scale = scale > 1 ? 1 : (float)scale;
}

CK_CLONES
static void accumulate_range(const void *pointer, size_t begin, size_t end) {
    const ck_accumulate_arguments *a = pointer;
    const float *restrict gradient = a->gradient;
    float *restrict accumulator = a->accumulator;
    if (a->state->micro_batch == 0) {
        for (size_t i = begin; i < end; i++) accumulator[i] = gradient[i];
    } else {
        for (size_t i = begin; i < end; i++) accumulator[i] += gradient[i];
    }
}

void ck_accumulate(const ck_accumulate_arguments *arguments) {
    ck_for_range(accumulate_range, arguments, arguments->count, 1);
}

CK_CLONES
static void average_range(const void *pointer, size_t begin, size_t end) {
    const ck_average_arguments *a = pointer;
    const float *restrict value = a->value;
    float *restrict average = a->average;
    const float rate = a->rate;
    for (size_t i = begin; i < end; i++) average[i] += rate * (value[i] - average[i]);
}

void ck_average(const ck_average_arguments *arguments) {
    ck_for_range(average_range, arguments, arguments->count, 1);
}
