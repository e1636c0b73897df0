// What turns gradients into new parameters. All of it float32, whatever the activations are stored as.
#pragma once
#include "CKernels.h"

/// One parameter's place in regions that several parameters share; the offset is the same in each region.
typedef struct {
    size_t offset;
    size_t count;
    float weight_decay;
    /// Factor of the step's learning rate.
    float rate_factor;
} ck_segment;

// ---- gradients.c

/// The size of all gradients together, and what they are multiplied by to keep it within bounds.
typedef struct {
    /// Euclidean.
    double norm;
    /// min(1, norm_max / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_; NaN when the norm is.
    float scale;
} ck_gradient_norm_result;

/// Sums squares in float64, in an order that follows from the number of threads alone.
typedef struct {
    const ck_segment *segments;
    size_t segment_count;
    /// Elements of all segments together.
    size_t count;
    const float *gradient;
    /// Infinite where the norm is only measured.
    float norm_max;
    ck_gradient_norm_result *result;
} ck_gradient_norm_arguments;
void ck_gradient_norm(const ck_gradient_norm_arguments *arguments);

/// accumulator = gradient in a step's first micro-batch (state->micro_batch == 0), += gradient in the others.
typedef struct {
    size_t count;
    const float *gradient;
    float *accumulator;
    const ck_step_state *state;
} ck_accumulate_arguments;
void ck_accumulate(const ck_accumulate_arguments *arguments);

/// average += rate * (value - average).
typedef struct {
    size_t count;
    const float *value;
    float *average;
    float rate;
} ck_average_arguments;
void ck_average(const ck_average_arguments *arguments);

// ---- masks.c

/// values[i] = mask[i] ? values[i] : 0, also where it was no number.
typedef struct {
    size_t count;
    float *values;
    const uint8_t *mask;
} ck_hold_zeros_arguments;
void ck_hold_zeros(const ck_hold_zeros_arguments *arguments);

/// score += gradient * weight, in steps that gather (state->gathers_scores).
typedef struct {
    size_t count;
    const float *weight;
    const float *gradient;
    float *score;
    const ck_step_state *state;
} ck_score_arguments;
void ck_score(const ck_score_arguments *arguments);

// ---- optimizer.c

typedef int32_t ck_update_rule;
enum { CK_SGD = 0, CK_ADAM = 1, CK_ADAMW = 2, CK_LION = 3, CK_RMSPROP = 4 };

/// One pass over every parameter's gradient g (times *scale), weight w and state.
///
/// - SGD: g += decay * w; v = momentum * v + g; w -= lr * (nesterov ? g + momentum * v : v).
/// - Adam: g += decay * w; AdamW: w *= 1 - lr * decay. Then m += (1 - beta1) * (g - m);
///   v = beta2 * v + (1 - beta2) * g^2; w -= lr / c1 * m / (sqrt(v) / c2 + epsilon), where c1 = 1 - beta1^t
///   and c2 = sqrt(1 - beta2^t) come with the step.
/// - Lion: w *= 1 - lr * decay; w -= lr * sign(beta1 * m + (1 - beta1) * g); m = beta2 * m + (1 - beta2) * g.
/// - RMSprop: g += decay * w; v = beta2 * v + (1 - beta2) * g^2; b = momentum * b + g / (sqrt(v) + epsilon);
///   w -= lr * b.
///
/// Where a mask is 0 the gradient counts as 0: a weight whose value, states and average are 0 keeps them so.
typedef struct {
    const ck_segment *segments;
    size_t segment_count;
    size_t count;
    float *weight;
    const float *gradient;
    /// SGD's velocity, NULL without momentum; m of Adam and Lion; v of RMSprop.
    float *first;
    /// v of Adam; b of RMSprop, NULL without momentum.
    float *second;
    /// Takes average += average_rate * (w - average) behind the update; NULL without averaging.
    float *average;
    /// 1 for each weight that stays, 0 for the others; NULL where all do.
    const uint8_t *mask;
    float average_rate;
    /// What gradients are multiplied by; NULL for 1.
    const ck_gradient_norm_result *clip;
    const ck_step_state *state;
    ck_update_rule rule;
    int32_t nesterov;
    float momentum;
    float beta1;
    float beta2;
    /// From float64: 1 - 0.999 computed in float32 would be off by 1e-5 of itself.
    float one_minus_beta1;
    float one_minus_beta2;
    float epsilon;
} ck_update_arguments;
void ck_update(const ck_update_arguments *arguments);

// ---- linear_gradient.c

enum { CK_LINEAR_ROWS_MAX = 256, CK_WEIGHT_BLOCK_INPUTS = 16, CK_LINEAR_BLOCK_OUTPUTS_MAX = 64 };

/// weight_gradient = output_gradient^T input, summed over a few rows, and at once the update that it is for.
///
/// Weights and all that lies like them are blocks of 16 inputs by `block` outputs,
/// [outputs / block][inputs / 16][16][block]; where blocks reach beyond the matrix, gradients are 0.
typedef struct {
    /// At most CK_LINEAR_ROWS_MAX.
    size_t rows;
    size_t inputs;
    size_t outputs;
    /// 16, 32 or 64.
    size_t block;
    /// [rows, inputs].
    const void *input;
    /// [rows, outputs].
    const void *output_gradient;
    ck_element type;
    /// Multiplies bfloat16 numbers as such, two rows at a time; only where the machine can.
    int32_t pairs;
    /// Where gradients go that something else needs; NULL where the parameters are updated instead.
    float *weight_gradient;
    /// Column sums of `output_gradient`.
    float *bias_gradient;
    /// Updates of one segment each, from the start of its region; one without segments is left out.
    ck_update_arguments weight;
    ck_update_arguments bias;
    /// The updated weights as bfloat16, [outputs / block][inputs / 16][8][block][2]; NULL where not wanted.
    uint16_t *copy;
} ck_linear_gradient_arguments;
void ck_linear_gradient(const ck_linear_gradient_arguments *arguments);
/// Whether the machine multiplies bfloat16 numbers.
int ck_linear_gradient_multiplies_bfloat16(void);

// ---- tall_gradient.c

/// The same over many rows, with AVX-512 alone (`ck_has_wide_vectors`): every thread sums a range of rows.
///
/// Weights lie as in ck_linear_gradient_arguments, with `inputs` a multiple of 16 and `outputs` of `block`.
typedef struct {
    /// At least one for each thread.
    size_t rows;
    size_t inputs;
    size_t outputs;
    /// 16, 32 or 64.
    size_t block;
    /// [rows, inputs].
    const float *input;
    /// [rows, outputs].
    const float *output_gradient;
    float *weight_gradient;
    /// Column sums of `output_gradient`; NULL where not wanted.
    float *bias_gradient;
    /// ck_tall_gradient_scratch_count floats, in whole cache lines.
    float *scratch;
} ck_tall_gradient_arguments;
void ck_tall_gradient(const ck_tall_gradient_arguments *arguments);
/// Floats of scratch for a team of `threads`.
size_t ck_tall_gradient_scratch_count(size_t inputs, size_t outputs, size_t threads);

// ---- weight_copy.c

/// Weights in blocks of 16 inputs by `block` outputs as bfloat16, those of two inputs side by side:
/// [count][16][block] as [count][8][block][2].
typedef struct {
    size_t count;
    size_t block;
    const float *weights;
    uint16_t *copy;
} ck_copy_weights_arguments;
void ck_copy_weights(const ck_copy_weights_arguments *arguments);

/// A row-major matrix as bfloat16 in such blocks of `block` rows by 16 columns, those of two columns side by
/// side: [rows / block][columns / 16][8][block][2]; turned, of `block` columns by 16 rows. What reaches
/// beyond the matrix becomes 0.
typedef struct {
    size_t rows;
    size_t columns;
    /// 16, 32 or 64.
    size_t block;
    int32_t is_turned;
    const float *weights;
    uint16_t *copy;
} ck_pack_weights_arguments;
void ck_pack_weights(const ck_pack_weights_arguments *arguments);

/// Weights in blocks of 16 inputs by `block` outputs, [outputs / block][inputs / 16][16][block], as such
/// blocks of the transposed matrix, [inputs / turned_block][outputs / 16][16][turned_block].
///
/// What reaches beyond the matrix is 0 in both.
typedef struct {
    size_t inputs;
    size_t outputs;
    /// 16, 32 or 64.
    size_t block;
    size_t turned_block;
    const float *weights;
    float *turned;
} ck_turn_weights_arguments;
void ck_turn_weights(const ck_turn_weights_arguments *arguments);
