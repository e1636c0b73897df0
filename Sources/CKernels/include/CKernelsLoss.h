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
