// Products with weights that are mostly zero.
#pragma once

// ---- sparse_weights.c, sparse_product.c

/// What a vector's sixteen lanes are.
typedef int32_t ck_sparse_lanes;
enum {
    /// Sixteen weights of one output, multiplied by inputs from as many places: for few samples, linear only.
    CK_SPARSE_WEIGHTS = 0,
    /// Sixteen samples.
    CK_SPARSE_SAMPLES = 1,
    /// Sixteen neighbouring pixels of one sample, the width with its padding being a line: for few samples
    /// and a stride of 1.
    CK_SPARSE_PIXELS = 2,
};

/// A convolution of channels-last images; a linear layer is one of 1x1 pixels.
///
/// Weights come in groups of `block` neighbouring outputs, the last of which may be smaller. Of a group all
/// weights of an input and tap are kept where any is not zero.
typedef struct {
    size_t batch;
    size_t channels;
    size_t height;
    size_t width;
    size_t out_channels;
    size_t out_height;
    size_t out_width;
    size_t kernel_height;
    size_t kernel_width;
    size_t stride_height;
    size_t stride_width;
    size_t padding_height;
    size_t padding_width;
    size_t dilation_height;
    size_t dilation_width;
    ck_sparse_lanes lanes;
    /// 1 or 4.
    uint32_t block;
    /// Columns of groups that there is room for.
    size_t capacity;
} ck_sparse_shape;

/// Bytes of packed weights.
size_t ck_sparse_weights_size(const ck_sparse_shape *shape);
/// Floats that the product works in, on a number of threads.
size_t ck_sparse_scratch_count(const ck_sparse_shape *shape, size_t threads);

/// Packs `weights`, [out_channels, channels, kernel_height, kernel_width]; returns how many columns of groups
/// are not all zero; where that is more than there is room for, the rest is left out.
typedef struct {
    ck_sparse_shape shape;
    const float *weights;
    void *packed;
} ck_sparse_pack_arguments;
size_t ck_sparse_pack(const ck_sparse_pack_arguments *arguments);

/// output = activation(weights * input + bias), in float32.
///
/// Every sum has an order of its own that does not depend on the threads. `bias` may be NULL; `threads` are
/// those that `scratch` was counted for.
typedef struct {
    ck_sparse_shape shape;
    const float *input;
    const void *packed;
    const float *bias;
    float *output;
    float *scratch;
    size_t threads;
    ck_activation kind;
    float slope;
} ck_sparse_arguments;
void ck_sparse_product(const ck_sparse_arguments *arguments);
