// Losses over a batch of rows, with their gradients in the same pass.
#pragma once
#include "CKernels.h"

/// What a loss step leaves behind.
typedef struct {
    /// Sum over the counted rows.
    double loss_sum;
    /// Rows whose largest output is the label's.
    int64_t correct;
    int64_t rows;
    /// Rows whose label is not the ignored one.
    int64_t counted;
    /// Of a distillation alone: the sums of its two parts, and the rows whose largest output is the teacher's.
    double hard_sum;
    double soft_sum;
    int64_t agreed;
    /// The weighted sum of the features' losses, of which `loss_sum` has become a part too.
    double feature_sum;
} ck_loss_result;

/// Every loss takes `rows` rows of `width` outputs z and targets t, one-hot where `labels` are given.
///
/// - cross entropy: -sum t' log softmax(z), where t' = (1 - s) t + s / width (Szegedy et al., 2016).
/// - KL divergence: sum t (log t - log softmax(z)).
/// - squared error: mean (z - t)^2; absolute error: mean |z - t|.
/// - Huber: mean of d^2 / 2 where d = |z - t| <= delta, else delta (d - delta / 2).
/// - binary cross entropy: mean of max(z, 0) - z t + log(1 + e^-|z|).
///
/// A row whose label is `ignored_label` has no loss and no gradient and is not counted; any other label
/// outside 0..<width makes the loss NaN.
typedef struct {
    size_t rows;
    size_t width;
    /// How `outputs` and `gradient` are stored.
    ck_element element;
    const void *outputs;
    /// [rows, width], or NULL when `labels` are given.
    const float *targets;
    /// [rows], or NULL when `targets` are given.
    const int32_t *labels;
    /// [rows, width], scaled by state->inverse_count; NULL when only evaluating. May be `outputs`.
    void *gradient;
    /// [rows] scratch.
    float *row_loss;
    /// [rows] scratch: 1 where the largest output is the label's (or the largest target's, for the two losses
    /// of a softmax), else 0; -1 where the row is ignored.
    int32_t *row_correct;
    int32_t ignored_label;
    float label_smoothing;
    float delta;
    const ck_step_state *state;
    ck_loss_result *result;
} ck_loss_arguments;

// ---- loss.c
void ck_cross_entropy(const ck_loss_arguments *arguments);
void ck_kl_divergence(const ck_loss_arguments *arguments);

// ---- regression.c
void ck_squared_error(const ck_loss_arguments *arguments);
void ck_absolute_error(const ck_loss_arguments *arguments);
void ck_huber(const ck_loss_arguments *arguments);
void ck_binary_cross_entropy(const ck_loss_arguments *arguments);

// ---- distillation.c

/// What brings a student's softened outputs q = softmax(z / T) close to a teacher's p = softmax(v / T).
typedef int32_t ck_soft_loss;
enum {
    /// T^2 KL(p || q) (Hinton et al., 2015).
    CK_SOFT_KL = 0,
    /// -T^2 sum p log q.
    CK_SOFT_CROSS_ENTROPY,
    /// mean (z - v)^2; knows no temperature.
    CK_SOFT_SQUARED_ERROR,
    /// T^2 (target_weight KL of the label against the rest + others_weight KL among the rest) (Zhao et al.,
    /// 2022); needs labels.
    CK_SOFT_DECOUPLED,
    /// T^2 KL(q || p).
    CK_SOFT_REVERSE_KL,
    /// T^2 (b KL(p || m) + (1 - b) KL(q || m)) with m = b p + (1 - b) q and b = `share` (Agarwal et al., 2024).
    CK_SOFT_JENSEN_SHANNON,
};

/// alpha * cross entropy + (1 - alpha) * state->soft_weight * soft loss, of every row that counts.
///
/// `hard` is a cross entropy's block; its `row_loss` takes the hard losses, bit 0 of its `row_correct` says
/// whether the label was met and bit 1 whether the teacher was.
typedef struct {
    ck_loss_arguments hard;
    /// The teacher's outputs [rows, width].
    const void *teacher;
    ck_element teacher_element;
    ck_soft_loss soft;
    float alpha;
    float temperature;
    float target_weight;
    float others_weight;
    float share;
    /// [rows] scratch.
    float *row_soft;
} ck_distillation_arguments;
void ck_distillation(const ck_distillation_arguments *arguments);

// ---- features.c

/// How a layer's output a is compared with a teacher's b, sample by sample.
typedef int32_t ck_feature_kind;
enum {
    /// mean (a - b)^2
    CK_FEATURE_SQUARES = 0,
    /// 1 - cos(a, b)
    CK_FEATURE_COSINE,
    /// mean over the positions of (s / |s| - t / |t|)^2, where s and t are the means of a^2 and b^2 over the
    /// channels (Zagoruyko and Komodakis, 2017).
    CK_FEATURE_ATTENTION,
};

/// Adds weight * mean over the samples to what a loss has left, whose mean is over the rows that count.
typedef struct {
    size_t batch;
    size_t positions;
    size_t channels;
    /// As `channels` but for attention.
    size_t teacher_channels;
    ck_element element;
    ck_feature_kind kind;
    float weight;
    /// [batch, positions, channels]
    const void *student;
    /// [batch, positions, teacher_channels]
    const void *teacher;
    /// As `student`, scaled by weight * state->inverse_samples; NULL where none is needed. May be `student`.
    void *gradient;
    /// [batch] losses, and behind them the [batch, 2, positions] maps of attention.
    float *scratch;
    const ck_step_state *state;
    ck_loss_result *result;
} ck_feature_arguments;
void ck_feature(const ck_feature_arguments *arguments);
