#include "rows.h"
#include "vector_math.h"

/// One row of z against a label. With m the row's maximum, log p_c = z_c - m - log sum exp(z - m), which is
/// stable for any finite logits.
CK_INLINE void labelled_row(const ck_loss_arguments *a, size_t row, const ck_element type) {
    const size_t width = a->width, start = row * width, label = (size_t)a->labels[row];
    const float smoothing = a->label_smoothing, uniform = smoothing / (float)width;
    const float maximum = ck_row_maximum(a->outputs, start, width, type);
    a->row_correct[row] = ck_is_first(a->outputs, start, label, maximum, type);
    const float label_logit = ck_load(a->outputs, start + label, type) - maximum;
    ck_lanes sums = 0, logit_sums = 0;
    for (size_t c = 0; c < width; c += CK_LANES) {
        ck_lanes z;
        ck_load_lanes(&z, a->outputs, start + c, width - c, -INFINITY, type);
        z -= maximum;
        ck_lanes shifted = z;
        ck_clear_lanes(&shifted, width - c);
        logit_sums += shifted;
        z = ck_exp_values(z);
        sums += z;
    }
    const float sum = ck_sum_lanes(&sums);
    const float log_sum = logf(sum), loss = log_sum - label_logit;
    const float mean = log_sum - ck_sum_lanes(&logit_sums) / (float)width;
    // 0 * inf would turn a class's logit of -inf into NaN where no target touches the class.
    a->row_loss[row] = smoothing > 0 ? (1 - smoothing) * loss + smoothing * mean : loss;
    if (!a->gradient) return;
    const float scale = a->state->inverse_count, inverse = 1.0f / sum;
    const float label_gradient = (expf(label_logit) * inverse - uniform - (1 - smoothing)) * scale;
    for (size_t c = 0; c < width; c += CK_LANES) {
        ck_lanes z;
        ck_load_lanes(&z, a->outputs, start + c, width - c, -INFINITY, type);
        z -= maximum;
        z = ck_exp_values(z);
        z = (z * inverse - uniform) * scale;
        ck_store_lanes(a->gradient, start + c, width - c, &z, type);
    }
    ck_store(a->gradient, start + label, label_gradient, type);
}

/// One row of z against probabilities t; `subtracts_entropy`, a constant, makes it the KL divergence.
CK_INLINE void distributed_row(
    const ck_loss_arguments *a, size_t row, const ck_element type, const int subtracts_entropy) {
    const size_t width = a->width, start = row * width;
    const float smoothing = a->label_smoothing, uniform = smoothing / (float)width;
    const float *targets = a->targets + start;
    const float maximum = ck_row_maximum(a->outputs, start, width, type);
    a->row_correct[row] =
        ck_is_first(a->outputs, start, ck_first_largest(targets, width), maximum, type);
    ck_lanes sums = 0, products = 0, masses = 0, entropies = 0;
    for (size_t c = 0; c < width; c += CK_LANES) {
        ck_lanes z, t;
        ck_load_lanes(&z, a->outputs, start + c, width - c, -INFINITY, type);
        ck_load_lanes(&t, targets, c, width - c, 0, CK_FLOAT32);
        z -= maximum;
        if (smoothing > 0) {
            t = t * (1 - smoothing) + uniform;
            ck_clear_lanes(&t, width - c);
        }
        masses += t;
        // A class that no target touches has no part, even where its logit is -inf.
        products += t == 0.0f ? (ck_lanes)0.0f : t * z;
        z = ck_exp_values(z);
        sums += z;
        if (subtracts_entropy) {
            const ck_lanes logarithm = ck_log_values(t);
            entropies += t > 0.0f ? t * logarithm : t == 0.0f ? (ck_lanes)0.0f : (ck_lanes)NAN;
        }
    }
    const float sum = ck_sum_lanes(&sums), mass = ck_sum_lanes(&masses);
    const float loss = mass * logf(sum) - ck_sum_lanes(&products);
    a->row_loss[row] = subtracts_entropy ? loss + ck_sum_lanes(&entropies) : loss;
    if (!a->gradient) return;
    const float scale = a->state->inverse_count, factor = mass / sum;
    for (size_t c = 0; c < width; c += CK_LANES) {
        ck_lanes z, t;
        ck_load_lanes(&z, a->outputs, start + c, width - c, -INFINITY, type);
        ck_load_lanes(&t, targets, c, width - c, 0, CK_FLOAT32);
        if (smoothing > 0) t = t * (1 - smoothing) + uniform;
        z -= maximum;
        z = ck_exp_values(z);
        z = (z * factor - t) * scale;
        ck_store_lanes(a->gradient, start + c, width - c, &z, type);
    }
}

CK_INLINE void softmax_rows(
    const ck_loss_arguments *a, size_t begin, size_t end, const ck_element type,
    const int subtracts_entropy) {
    for (size_t row = begin; row < end; row++) {
        if (ck_skips_row(a, row, type)) continue;
        if (a->labels) labelled_row(a, row, type);
        else distributed_row(a, row, type, subtracts_entropy);
    }
}

CK_CLONES
static void cross_entropy_rows(const ck_loss_arguments *a, size_t begin, size_t end) {
    if (a->element == CK_BFLOAT16) softmax_rows(a, begin, end, CK_BFLOAT16, 0);
    else softmax_rows(a, begin, end, CK_FLOAT32, 0);
}

void ck_cross_entropy(const ck_loss_arguments *arguments) { ck_for_rows(cross_entropy_rows, arguments); }

CK_CLONES
static void kl_divergence_rows(const ck_loss_arguments *a, size_t begin, size_t end) {
    if (a->element == CK_BFLOAT16) softmax_rows(a, begin, end, CK_BFLOAT16, 1);
    else softmax_rows(a, begin, end, CK_FLOAT32, 1);
}

void ck_kl_divergence(const ck_loss_arguments *arguments) { ck_for_rows(kl_divergence_rows, arguments); }
