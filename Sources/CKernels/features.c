#include "CKernelsLoss.h"
#include "lane_values.h"
#include <math.h>

/// Elements that are summed in float32 before the sum is continued in float64.
enum { BLOCK = 1024 };

typedef ck_feature_arguments arguments;

/// What the slope of a sample's loss is multiplied by.
CK_INLINE float slope_scale(const arguments *a) { return a->weight * a->state->inverse_samples; }

CK_INLINE size_t block_end(size_t begin, size_t count) {
    return begin + BLOCK < count ? begin + BLOCK : count;
}

/// mean (a - b)^2, with the gradient in the same pass.
CK_INLINE float square_sample(
    const arguments *a, size_t sample, const ck_element type, const int writes) {
    const size_t count = a->positions * a->channels, start = sample * count;
    const float factor = writes ? 2 * slope_scale(a) / (float)count : 0;
    double sum = 0;
    for (size_t begin = 0; begin < count; begin += BLOCK) {
        const size_t end = block_end(begin, count);
        ck_lanes squares = 0;
        for (size_t i = begin; i < end; i += CK_LANES) {
            const ck_lanes difference = ck_read_some(a->student, start + i, end - i, type)
                - ck_read_some(a->teacher, start + i, end - i, type);
            squares += difference * difference;
            if (writes) ck_write_some(a->gradient, start + i, end - i, factor * difference, type);
        }
        sum += (double)ck_sum_values(squares);
    }
    return (float)(sum / (double)count);
}

/// 1 - cos(a, b), where each sum of squares counts 1e-12 more, as in PyTorch.
CK_INLINE float cosine_sample(
    const arguments *a, size_t sample, const ck_element type, const int writes) {
    const size_t count = a->positions * a->channels, start = sample * count;
    double product = 0, own = 1e-12, others = 1e-12;
    for (size_t begin = 0; begin < count; begin += BLOCK) {
        const size_t end = block_end(begin, count);
        ck_lanes products = 0, squares = 0, other_squares = 0;
        for (size_t i = begin; i < end; i += CK_LANES) {
            const ck_lanes s = ck_read_some(a->student, start + i, end - i, type);
            const ck_lanes t = ck_read_some(a->teacher, start + i, end - i, type);
            products += s * t;
            squares += s * s;
            other_squares += t * t;
        }
        product += (double)ck_sum_values(products);
        own += (double)ck_sum_values(squares);
        others += (double)ck_sum_values(other_squares);
    }
    const double inverse = 1 / sqrt(own * others);
    if (writes) {
        // d cos / da = b / (|a| |b|) - cos a / |a|^2
        const float of_teacher = (float)(-slope_scale(a) * inverse);
        const float of_student = (float)(slope_scale(a) * product * inverse / own);
        for (size_t i = 0; i < count; i += CK_LANES) {
            const ck_lanes s = ck_read_some(a->student, start + i, count - i, type);
            const ck_lanes t = ck_read_some(a->teacher, start + i, count - i, type);
            ck_write_some(a->gradient, start + i, count - i, of_teacher * t + of_student * s, type);
        }
    }
    return (float)(1 - product * inverse);
}

/// `count` of the elements up to `end`, the other lanes 0: a whole vector is read wherever there is one,
/// because a rest of channels taken one by one costs more than all vectors in front of it.
CK_INLINE ck_lanes read_rest(
    const void *elements, size_t index, size_t count, size_t end, const ck_element type) {
    if (index + CK_LANES > end) return ck_read_some(elements, index, count, type);
    return ck_keep_first(ck_read(elements, index, type), (int32_t)count, ck_splat(0));
}

/// The mean of squares over the channels of every position; returns their Euclidean norm.
CK_INLINE double attention_map(
    const void *elements, size_t sample, size_t positions, size_t channels, float *map,
    const ck_element type) {
    const size_t whole = channels / CK_LANES * CK_LANES, end = (sample + 1) * positions * channels;
    double sum = 0;
    for (size_t p = 0; p < positions; p++) {
        const size_t start = (sample * positions + p) * channels;
        ck_lanes squares = 0;
        for (size_t c = 0; c < whole; c += CK_LANES) {
            const ck_lanes some = ck_read(elements, start + c, type);
            squares += some * some;
        }
        if (whole < channels) {
            const ck_lanes some = read_rest(elements, start + whole, channels - whole, end, type);
            squares += some * some;
        }
        map[p] = ck_sum_values(squares) / (float)channels;
        sum += (double)map[p] * (double)map[p];
    }
    return sqrt(sum);
}

/// The gradient of one position's channels. Behind a rest of them the vector goes on into the next position,
/// where it leaves what the gradient is made of if both lie in one place, and what is overwritten if not.
CK_INLINE void write_slopes(
    const arguments *a, size_t start, size_t end, float slope, const ck_element type) {
    const size_t channels = a->channels, whole = channels / CK_LANES * CK_LANES;
    for (size_t c = 0; c < whole; c += CK_LANES)
        ck_write(a->gradient, start + c, ck_splat(slope) * ck_read(a->student, start + c, type), type);
    if (whole == channels) return;
    const size_t index = start + whole, rest = channels - whole;
    if (index + CK_LANES <= end) {
        const ck_lanes some = ck_read(a->student, index, type);
        ck_write(a->gradient, index, ck_keep_first(ck_splat(slope) * some, (int32_t)rest, some), type);
    } else {
        const ck_lanes some = ck_read_some(a->student, index, rest, type);
        ck_write_some(a->gradient, index, rest, ck_splat(slope) * some, type);
    }
}

/// mean over the positions of (s / |s| - t / |t|)^2 of both attention maps s and t.
CK_INLINE float attention_sample(
    const arguments *a, size_t sample, const ck_element type, const int writes) {
    const size_t positions = a->positions, channels = a->channels;
    float *own = a->scratch + a->batch + sample * 2 * positions, *others = own + positions;
    const double size = attention_map(a->student, sample, positions, channels, own, type);
    const double other_size = attention_map(a->teacher, sample, positions, a->teacher_channels, others, type);
    const double inverse = 1 / (size < 1e-12 ? 1e-12 : size);
    const double other_inverse = 1 / (other_size < 1e-12 ? 1e-12 : other_size);
    double sum = 0, along = 0;
    for (size_t p = 0; p < positions; p++) {
        const double share = own[p] * inverse, difference = share - others[p] * other_inverse;
        sum += difference * difference;
        along += difference * share;
        others[p] = (float)difference;
    }
    // A map that is divided by a constant can grow.
    if (size < 1e-12) along = 0;
    // d/ds_p = 2 / P (d_p - s_p / |s| sum d s / |s|) / |s|, and ds_p / da = 2 a / C
    const double factor = 4 * (double)slope_scale(a) * inverse / ((double)positions * (double)channels);
    const size_t first = sample * positions * channels, end = first + positions * channels;
    for (size_t p = 0; writes && p < positions; p++)
        write_slopes(a, first + p * channels, end,
            (float)(factor * (others[p] - own[p] * inverse * along)), type);
    return (float)(sum / (double)positions);
}

#define SAMPLES(name, body, type)                                                                          \
    CK_CLONES                                                                                              \
    static void name(const void *pointer, size_t begin, size_t end) {                                      \
        const arguments *a = pointer;                                                                      \
        for (size_t sample = begin; sample < end; sample++)                                                \
            a->scratch[sample] = a->gradient ? body(a, sample, type, 1) : body(a, sample, type, 0);        \
    }

SAMPLES(square_floats, square_sample, CK_FLOAT32)
SAMPLES(square_halves, square_sample, CK_BFLOAT16)
SAMPLES(cosine_floats, cosine_sample, CK_FLOAT32)
SAMPLES(cosine_halves, cosine_sample, CK_BFLOAT16)
SAMPLES(attention_floats, attention_sample, CK_FLOAT32)
SAMPLES(attention_halves, attention_sample, CK_BFLOAT16)

void ck_feature(const ck_feature_arguments *a) {
    const ck_range_body bodies[][2] = {
        {square_floats, square_halves},
        {cosine_floats, cosine_halves},
        {attention_floats, attention_halves},
    };
    ck_for_units(bodies[a->kind][a->element == CK_BFLOAT16], a, a->batch,
        a->positions * (a->channels + a->teacher_channels));
    // In the samples' order, so that the sum does not depend on the number of threads.
    double sum = 0;
    for (size_t sample = 0; sample < a->batch; sample++) sum += a->scratch[sample];
    // Divided by the counted rows, as everything in the result is, it is the mean over the samples.
    sum *= (double)a->weight * ((double)a->state->inverse_samples / (double)a->state->inverse_count);
    a->result->feature_sum += sum;
    a->result->loss_sum += sum;
}
