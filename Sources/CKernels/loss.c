#include "internal.h"
#include <math.h>

/// e^x for x <= 0 to 2 ulp: Cody-Waite reduction and the degree-5 polynomial of Cephes' expf. Vectorises.
static inline __attribute__((always_inline)) float exp_nonpositive(float x) {
    x = x < -87.0f ? -87.0f : x;
    float n = floorf(x * 1.44269504f + 0.5f);
    float r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    union {
        int32_t bits;
        float value;
    } power = {((int32_t)n + 127) << 23};
    return p * power.value;
}

/// The first index of the largest value; 0 when all are NaN.
static inline __attribute__((always_inline)) size_t argmax(const float *values, size_t count) {
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (values[i] > values[best]) best = i;
    return best;
}

/// With m the row's maximum: log p_c = z_c - m - log sum exp(z - m), stable for any finite logits.
CK_CLONES
static void cross_entropy_range(const void *pointer, size_t begin, size_t end) {
    const ck_cross_entropy_arguments *a = pointer;
    const size_t classes = a->classes;
    const float smoothing = a->label_smoothing, uniform = smoothing / (float)classes;
    const float scale = a->gradient ? a->state->inverse_count : 0;
    for (size_t row = begin; row < end; row++) {
        const float *z = a->logits + row * classes;
        const size_t label = (size_t)a->labels[row];
        const size_t best = argmax(z, classes);
        const float maximum = z[best];
        float sum = 0, logit_sum = 0;
        for (size_t c = 0; c < classes; c++) {
            float shifted = z[c] - maximum;
            logit_sum += shifted;
            // NaN and +inf must reach the loss: the clamp in exp_nonpositive would hide them.
            sum += shifted <= 0 ? exp_nonpositive(shifted) : NAN;
        }
        const float log_sum = logf(sum);
        const float nll = log_sum - (z[label] - maximum);
        const float mean_nll = log_sum - logit_sum / (float)classes;
        // 0 * inf would turn a class's logit of -inf into NaN where no target touches the class.
        a->row_loss[row] = smoothing > 0 ? (1 - smoothing) * nll + smoothing * mean_nll : nll;
        a->row_correct[row] = best == label;
        if (!a->gradient) continue;
        float *g = a->gradient + row * classes;
        const float inverse = 1.0f / sum;
        for (size_t c = 0; c < classes; c++) g[c] = (exp_nonpositive(z[c] - maximum) * inverse - uniform) * scale;
        g[label] -= (1 - smoothing) * scale;
    }
}

/// Sums the rows in their order, so that the result does not depend on the number of threads.
static void sum_rows(size_t rows, const float *row_loss, const int32_t *row_correct, ck_loss_result *result) {
    double loss = 0;
    int64_t correct = 0;
    for (size_t row = 0; row < rows; row++) {
        loss += row_loss[row];
        correct += row_correct[row];
    }
    result->loss_sum = loss;
    result->correct = correct;
    result->rows = (int64_t)rows;
}

void ck_cross_entropy(const ck_cross_entropy_arguments *arguments) {
    ck_for_range(cross_entropy_range, arguments, arguments->rows, arguments->classes * 4);
    sum_rows(arguments->rows, arguments->row_loss, arguments->row_correct, arguments->result);
}

CK_CLONES
static void squared_error_range(const void *pointer, size_t begin, size_t end) {
    const ck_squared_error_arguments *a = pointer;
    const size_t width = a->width;
    const float scale = a->gradient ? 2 * a->state->inverse_count / (float)width : 0;
    for (size_t row = begin; row < end; row++) {
        const float *y = a->outputs + row * width;
        float *g = a->gradient ? a->gradient + row * width : NULL;
        const float *t = a->targets ? a->targets + row * width : NULL;
        const size_t label = a->labels ? (size_t)a->labels[row] : 0;
        a->row_correct[row] = a->labels ? argmax(y, width) == label : 0;
        float sum = 0;
        for (size_t c = 0; c < width; c++) {
            float target = t ? t[c] : (c == label ? 1.0f : 0.0f);
            float difference = y[c] - target;
            sum += difference * difference;
            if (g) g[c] = difference * scale;
        }
        a->row_loss[row] = sum / (float)width;
    }
}

void ck_squared_error(const ck_squared_error_arguments *arguments) {
    ck_for_range(squared_error_range, arguments, arguments->rows, arguments->width);
    sum_rows(arguments->rows, arguments->row_loss, arguments->row_correct, arguments->result);
}
