// Pooling and convolutions that oneDNN lacks or starves at, all channels-last.
#pragma once
#include "CKernels.h"

// ---- adaptive_pooling.c

/// Means over windows that tile the input: output row i takes the input rows
/// floor(i * height / out_height) ..< ceil((i + 1) * height / out_height); columns alike.
typedef struct {
    size_t batch, channels, height, width, out_height, out_width;
    /// [batch, height, width, channels]; the gradient of the input in the backward pass.
    void *input;
    /// [batch, out_height, out_width, channels]; the gradient of the output in the backward pass.
    void *output;
    ck_element element;
} ck_adaptive_average_arguments;
/// Reads `input`, writes `output`.
void ck_adaptive_average(const ck_adaptive_average_arguments *arguments);
/// Reads `output`, writes `input`.
void ck_adaptive_average_backward(const ck_adaptive_average_arguments *arguments);

// ---- depthwise.c, depthwise_backward.c, depthwise_between.c

/// A convolution of each channel with its own 3x3 kernel, padding 1, stride 1 or 2; at least 16 channels.
typedef struct {
    size_t batch, channels, height, width, stride;
    /// (height - 1) / stride + 1, (width - 1) / stride + 1.
    size_t out_height, out_width;
    ck_element element;
} ck_depthwise_shape;

/// What is done to each element of an input as it is read: clamp((x - mean) * factor + offset, low, high);
/// NaN stays NaN. The padding around the image is 0 afterwards.
typedef struct {
    /// [3, channels]: mean, factor, offset; NULL where the input is read as it is.
    const float *coefficients;
    float low, high;
    /// ck_depthwise_window_count(shape) floats for each thread; untouched without coefficients.
    float *windows;
} ck_depthwise_norm;
/// Floats of a thread's three normalised rows, and of the sums over one image.
size_t ck_depthwise_window_count(const ck_depthwise_shape *shape);

/// output = clamp(input * weights + bias, low, high); NaN stays NaN.
typedef struct {
    ck_depthwise_shape shape;
    const void *input;
    ck_depthwise_norm norm;
    /// [3, 3, channels].
    const float *weights;
    /// [channels], or NULL.
    const float *bias;
    void *output;
    float low, high;
} ck_depthwise_arguments;
void ck_depthwise(const ck_depthwise_arguments *arguments);

typedef struct {
    ck_depthwise_shape shape;
    const void *gradient_out;
    const float *weights;
    void *gradient_in;
} ck_depthwise_data_arguments;
void ck_depthwise_backward_data(const ck_depthwise_data_arguments *arguments);

typedef struct {
    ck_depthwise_shape shape;
    const void *input;
    ck_depthwise_norm norm;
    const void *gradient_out;
    /// [3, 3, channels].
    float *gradient_weights;
    /// [channels], or NULL.
    float *gradient_bias;
    /// [threads, 10, channels]: each thread's sums, added in the order of the threads.
    float *scratch;
} ck_depthwise_weights_arguments;
void ck_depthwise_backward_weights(const ck_depthwise_weights_arguments *arguments);

/// The backward pass of a convolution whose input a batch normalisation in front makes, `norm`, and whose
/// output another one behind reads: from the gradient behind the latter's activation to what reaches the
/// former's, whose first pass is made too.
typedef struct {
    ck_depthwise_shape shape;
    /// What the normalisation in front read.
    const void *input;
    /// Its windows are not used.
    ck_depthwise_norm norm;
    /// [3, 3, channels].
    const float *weights;
    /// What the convolution yielded.
    const void *output;
    const void *gradient_out;
    /// [5, channels], of ck_batch_norm_backward_sums for the normalisation behind.
    const float *behind;
    /// The limits of its activation, both infinite without.
    float behind_low, behind_high;
    void *gradient_in;
    /// [3, 3, channels].
    float *gradient_weights;
    /// [channels], or NULL.
    float *gradient_bias;
    /// [parts, 2, channels]: the scratch of ck_batch_norm_backward_input for the normalisation in front.
    double *moments;
    /// ck_depthwise_between_scratch(shape, threads) floats: [parts, 10, channels] sums, then the threads'
    /// windows.
    float *totals, *windows;
} ck_depthwise_between_arguments;
void ck_depthwise_between(const ck_depthwise_between_arguments *arguments);
/// Groups of images whose sums are made apart, whatever the number of threads.
size_t ck_depthwise_between_parts(const ck_depthwise_shape *shape);
size_t ck_depthwise_between_scratch(const ck_depthwise_shape *shape, size_t threads);

// ---- Dense convolutions, on processors with AVX-512.

/// Whether this processor has what they are compiled for.
int32_t ck_has_wide_vectors(void);

/// A dense convolution of stride 1 with a 3x3 or 5x5 kernel.
///
/// Weights and their gradient are [kernel, kernel, in_channels, out_channels].
typedef struct {
    size_t batch, in_channels, out_channels, height, width, out_height, out_width;
    /// Zeros in front of the first row and column.
    size_t padding_height, padding_width;
    /// 3 or 5.
    size_t kernel;
    ck_element element;
} ck_dense_shape;

// ---- winograd.c, winograd_backward.c: by a quarter or a sixth of the definition's products (winograd.h).

/// Floats of scratch for a team of `threads`, enough for each of the passes.
size_t ck_winograd_scratch_count(const ck_dense_shape *shape, size_t threads);

/// output = clamp(input * weights + bias, low, high); NaN stays NaN.
typedef struct {
    ck_dense_shape shape;
    const void *input;
    const float *weights;
    /// [out_channels], or NULL.
    const float *bias;
    void *output;
    float low, high;
    float *scratch;
} ck_dense_arguments;
void ck_winograd(const ck_dense_arguments *arguments);

typedef struct {
    ck_dense_shape shape;
    const void *gradient_out;
    const float *weights;
    void *gradient_in;
    float *scratch;
} ck_dense_data_arguments;
void ck_winograd_backward_data(const ck_dense_data_arguments *arguments);

typedef struct {
    ck_dense_shape shape;
    const void *input;
    const void *gradient_out;
    float *gradient_weights;
    /// [out_channels], or NULL.
    float *gradient_bias;
    float *scratch;
} ck_dense_weights_arguments;
void ck_winograd_backward_weights(const ck_dense_weights_arguments *arguments);

// ---- single_channel.c: the weight gradient where there is one channel in.

/// Floats of scratch for a team of `threads`.
size_t ck_single_channel_scratch_count(const ck_dense_shape *shape, size_t threads);
/// As `ck_winograd_backward_weights`.
void ck_single_channel_backward_weights(const ck_dense_weights_arguments *arguments);
