// Activations, normalisations and the elementary functions beneath them.
#pragma once

// ---- vector_math.c

typedef int32_t ck_function;
enum {
    CK_EXP = 0,
    CK_SIGMOID = 1,
    CK_TANH = 2,
    CK_ERF = 3,
    /// The same exponential, as kernels that work on sixteen lanes call it.
    CK_EXP_LANES = 4,
    CK_LOG = 5,
    /// Of numbers from 0 to 1.
    CK_LOG1P = 6,
};

/// output = function(input); may be in place.
typedef struct {
    size_t count;
    const float *input;
    float *output;
    ck_function function;
} ck_vector_math_arguments;
void ck_vector_math(const ck_vector_math_arguments *arguments);

// ---- activation.c

typedef int32_t ck_activation;
enum {
    CK_ACTIVATION_NONE = 0,
    CK_ACTIVATION_RELU = 1,
    CK_ACTIVATION_RELU6 = 2,
    CK_ACTIVATION_LEAKY_RELU = 3,
    CK_ACTIVATION_GELU_ERF = 4,
    CK_ACTIVATION_GELU_TANH = 5,
    CK_ACTIVATION_SILU = 6,
    CK_ACTIVATION_SIGMOID = 7,
    CK_ACTIVATION_TANH = 8,
    CK_ACTIVATION_HARD_SWISH = 9,
};

/// output = kind(input), NaN stays NaN; may be in place.
typedef struct {
    size_t count;
    const void *input;
    void *output;
    /// Takes kind'(input), for either GELU and SiLU; may be `input`. NULL where not wanted.
    void *derivative;
    ck_activation kind;
    ck_element type;
    /// Of a leaky ReLU.
    float slope;
} ck_activation_arguments;
void ck_activation_forward(const ck_activation_arguments *arguments);

/// gradient_in = kind'(saved) * gradient_out; `gradient_in` may be either of the others.
///
/// `saved` is the output for relu, relu6, sigmoid and tanh, either for leaky_relu of a positive slope, and
/// the input for all others.
typedef struct {
    size_t count;
    const void *saved;
    const void *gradient_out;
    void *gradient_in;
    ck_activation kind;
    ck_element type;
    float slope;
} ck_activation_backward_arguments;
void ck_activation_backward(const ck_activation_backward_arguments *arguments);

// ---- parts.c

/// The parts that sums over `rows` rows of `width` are split into: fixed by the sizes alone, so that their
/// bits do not depend on the number of threads.
size_t ck_part_count(size_t rows, size_t width);

// ---- batch_norm.c

/// Batch normalisation of channels-last rows, [rows, channels]:
/// output = activation(scale * (input - mean) / sqrt(variance + epsilon) + shift + residual).
typedef struct {
    size_t rows;
    size_t channels;
    /// ck_part_count(rows, channels)
    size_t parts;
    const void *input;
    const float *scale;
    const float *shift;
    /// [rows, channels]; NULL without.
    const void *residual;
    /// May be `residual`, and in inference `input`.
    void *output;
    /// [3, channels]: the batch's mean, what it lost in rounding, 1 / sqrt(variance + epsilon).
    float *saved;
    /// Read in inference; in training (1 - momentum) * running + momentum * batch afterwards, the variance
    /// with the n / (n - 1) correction.
    float *running_mean;
    float *running_variance;
    /// [parts, 2, channels]
    double *scratch;
    /// [3, channels], of ck_batch_norm_statistics: output = (input - mean) * factor + offset, those three.
    float *coefficients;
    float epsilon;
    float momentum;
    /// None, relu or relu6.
    ck_activation activation;
    /// Any activation behind that, with its slope, and the same in the backward pass.
    ck_activation following;
    float slope;
    ck_element type;
} ck_batch_norm_arguments;
void ck_batch_norm_training(const ck_batch_norm_arguments *arguments);
/// The output of ck_batch_norm_training once more, from what that saved.
void ck_batch_norm_repeat(const ck_batch_norm_arguments *arguments);
/// As training, but for the output: whoever reads it makes it from the input by the coefficients.
void ck_batch_norm_statistics(const ck_batch_norm_arguments *arguments);
void ck_batch_norm_inference(const ck_batch_norm_arguments *arguments);

typedef struct {
    size_t rows;
    size_t channels;
    size_t parts;
    const void *input;
    /// Of training.
    const float *saved;
    const float *scale;
    const float *shift;
    /// Of training; read only where a residual was added before an activation, else the sign is recomputed.
    const void *output;
    const void *gradient_out;
    /// May be `gradient_out`.
    void *gradient_in;
    /// The residual's gradient, which is that behind the activation: wanted only where there are both. May be
    /// `gradient_out`, but not `gradient_in`.
    void *residual_gradient;
    float *scale_gradient;
    float *shift_gradient;
    /// [sum_parts, 2, channels]
    double *scratch;
    /// `parts`, unless another kernel has made the sums.
    size_t sum_parts;
    /// [5, channels], of ck_batch_norm_backward_sums: mean, factor, offset, slope, level; gradient_in =
    /// factor * g + ((input - mean) * slope + level), where g is gradient_out behind the activation of
    /// (input - mean) * factor + offset.
    float *coefficients;
    ck_activation activation;
    /// Without a residual, and with neither of the passes alone.
    ck_activation following;
    float slope;
    ck_element type;
} ck_batch_norm_backward_arguments;
void ck_batch_norm_backward(const ck_batch_norm_backward_arguments *arguments);
/// The first pass alone, for a reader that makes gradient_in from the coefficients; without a residual.
void ck_batch_norm_backward_sums(const ck_batch_norm_backward_arguments *arguments);
/// The second pass alone, from the sums in `scratch`; without a residual.
void ck_batch_norm_backward_input(const ck_batch_norm_backward_arguments *arguments);

// ---- fold_norm.c

/// folded_weights = weights * factor, folded_bias = (bias - mean) * factor + shift, with
/// factor = scale / sqrt(variance + epsilon) for each row.
typedef struct {
    size_t rows;
    size_t width;
    /// [rows, width]
    const float *weights;
    /// [rows], as all that follow; NULL for zeros.
    const float *bias;
    const float *scale;
    const float *shift;
    const float *mean;
    const float *variance;
    /// May be `weights`.
    float *folded_weights;
    float *folded_bias;
    float epsilon;
} ck_fold_norm_arguments;
void ck_fold_norm(const ck_fold_norm_arguments *arguments);

// ---- row_norm.c

/// Layer normalisation of rows, [rows, width]: output = (x - mean) / sqrt(variance + epsilon) * scale +
/// shift, with x = input, or input + residual; RMS normalisation is the same with a mean of 0. An activation
/// may follow, and its gradient the other way.
typedef struct {
    size_t rows;
    size_t width;
    const void *input;
    /// NULL without.
    const void *residual;
    /// Takes input + residual, where there is one; may be either.
    void *sum;
    /// [width]; NULL without.
    const float *scale;
    /// [width]; NULL without, and only beside a scale.
    const float *shift;
    /// May be `input`.
    void *output;
    /// [rows] 1 / sqrt(variance + epsilon), then when centered [rows] numbers near the mean and [rows]
    /// distances of the mean from them.
    float *saved;
    float epsilon;
    /// Layer rather than RMS normalisation.
    int32_t centered;
    ck_activation activation;
    float slope;
    ck_element type;
} ck_row_norm_arguments;
void ck_row_norm(const ck_row_norm_arguments *arguments);

typedef struct {
    size_t rows;
    size_t width;
    /// ck_part_count(rows, width)
    size_t parts;
    /// What was normalised.
    const void *input;
    const float *saved;
    /// NULL without.
    const float *scale;
    const void *gradient_out;
    /// Another gradient of what was normalised, added in the same pass; NULL without. May be `gradient_in`.
    const void *addend;
    /// May be `gradient_out`.
    void *gradient_in;
    float *scale_gradient;
    /// NULL where there is no shift.
    float *shift_gradient;
    /// [width]; read where there is an activation.
    const float *shift;
    /// [parts, 2, width], where there is a scale; [parts, 3, width], where there is an activation.
    float *scratch;
    int32_t centered;
    ck_activation activation;
    float slope;
    ck_element type;
} ck_row_norm_backward_arguments;
void ck_row_norm_backward(const ck_row_norm_backward_arguments *arguments);

// ---- group_norm.c

/// Group normalisation of channels-last images, [batch, area, channels]: each sample's groups of neighbouring
/// channels are normalised by their own mean and variance. An activation may follow, and its gradient the
/// other way.
typedef struct {
    size_t batch;
    size_t area;
    size_t channels;
    size_t groups;
    /// ck_part_count(batch, area * channels)
    size_t parts;
    const void *input;
    /// [channels] both, or NULL both.
    const float *scale;
    const float *shift;
    /// May be `input`.
    void *output;
    /// [3, batch, groups]: as ck_batch_norm's.
    float *saved;
    /// [parts, 4, channels]
    double *scratch;
    float epsilon;
    ck_activation activation;
    float slope;
    ck_element type;
} ck_group_norm_arguments;
void ck_group_norm(const ck_group_norm_arguments *arguments);

typedef struct {
    size_t batch;
    size_t area;
    size_t channels;
    size_t groups;
    size_t parts;
    const void *input;
    const float *saved;
    /// NULL without.
    const float *scale;
    /// Read where there is an activation; NULL without.
    const float *shift;
    const void *gradient_out;
    /// May be `gradient_out`.
    void *gradient_in;
    float *scale_gradient;
    float *shift_gradient;
    /// [parts, 4, channels]
    double *scratch;
    ck_activation activation;
    float slope;
    ck_element type;
} ck_group_norm_backward_arguments;
void ck_group_norm_backward(const ck_group_norm_backward_arguments *arguments);
