// Loops over sequences and over activations as tensors: attention, embeddings, softmax, data movement.
#pragma once
#include <stdint.h>
#include <stddef.h>

// ---- attention_forward.c, attention_backward.c

/// Multi-head attention softmax(q k^T * scale) v per head, in blocks with an online softmax (Dao, 2023).
typedef struct {
    size_t batch;
    size_t heads;
    size_t tokens;
    size_t head_width;
    ck_element element;
    /// Token i sees tokens 0...i only.
    int32_t causal;
    /// Multiplies bfloat16 by AVX512-BF16: for bfloat16, an even `head_width`, where `ck_multiplies_pairs`.
    int32_t pairs;
    float scale;
    /// Of dropping an attention probability; 0 = none, and `state` is not read.
    float probability;
    uint32_t layer;
    uint32_t purpose;
    const ck_step_state *state;
    /// Threads that `scratch` is laid out for; a larger team leaves the others idle.
    size_t threads;
    /// [batch]: tokens before a sample's padding, which nothing sees; less than 1 counts as 1. NULL for all.
    const int32_t *lengths;
    /// [batch, tokens, 3 * heads * head_width]: queries, keys, values side by side, each head after head.
    const void *qkv;
    /// [batch, tokens, heads * head_width].
    void *output;
    /// [batch, heads, tokens]: ln of the sum over the keys of exp(score).
    float *logsumexp;
    /// Threads times what the pass's scratch count says.
    float *scratch;
    /// Backward only: [batch, tokens, heads * head_width].
    const void *output_gradient;
    /// Backward only: as `qkv`, and may be `qkv`.
    void *qkv_gradient;
} ck_attention_arguments;
void ck_attention(const ck_attention_arguments *arguments);
/// The gradient of `qkv`; reads `output` and `logsumexp`, which the forward pass wrote, and keeps no scores.
void ck_attention_backward(const ck_attention_arguments *arguments);
/// Floats of scratch that one thread needs forward.
size_t ck_attention_scratch_count(size_t tokens, size_t head_width, int32_t pairs);
/// Floats of scratch that one thread needs backward.
size_t ck_attention_backward_scratch_count(size_t tokens, size_t head_width, int32_t pairs);
/// Whether this machine multiplies pairs of bfloat16 (AVX512-BF16).
int32_t ck_multiplies_pairs(void);

// ---- rotary.c

/// Rotary position embedding (Su et al., 2021) of the queries and keys of `qkv`, in place. Columns i and
/// i + head_width / 2 of a head turn by table angle (t, i); `inverse` turns back, which is the backward pass.
typedef struct {
    size_t batch;
    size_t tokens;
    size_t heads;
    /// Even.
    size_t head_width;
    ck_element element;
    int32_t inverse;
    /// [tokens, head_width]: the cosines of head_width / 2 angles, then their sines.
    const float *table;
    /// [batch, tokens, 3 * heads * head_width].
    void *qkv;
} ck_rotary_arguments;
void ck_rotary(const ck_rotary_arguments *arguments);

// ---- embedding.c

/// output[r] = table[ids[r]]; an id outside the vocabulary gives zeros.
typedef struct {
    size_t rows;
    size_t width;
    size_t vocabulary;
    ck_element element;
    const int32_t *ids;
    /// [vocabulary, width].
    const float *table;
    /// [rows, width].
    void *output;
} ck_embedding_arguments;
void ck_embedding(const ck_embedding_arguments *arguments);

/// lengths[b] = tokens up to a sample's last one that is not `padding`, at least 1.
typedef struct {
    size_t batch;
    size_t tokens;
    int32_t padding;
    /// [batch, tokens].
    const int32_t *ids;
    /// [batch].
    int32_t *lengths;
} ck_token_lengths_arguments;
void ck_token_lengths(const ck_token_lengths_arguments *arguments);

/// table_gradient[v] = sum of output_gradient[r] over the rows r with id v, in ascending order.
typedef struct {
    size_t rows;
    size_t width;
    size_t vocabulary;
    ck_element element;
    /// Adds to what `table_gradient` holds, as tied output weights need.
    int32_t adds;
    const int32_t *ids;
    /// [rows, width].
    const void *output_gradient;
    /// [vocabulary, width].
    float *table_gradient;
} ck_embedding_backward_arguments;
void ck_embedding_backward(const ck_embedding_backward_arguments *arguments);

// ---- softmax.c

/// output = softmax of each of `rows` rows of `width`; may be in place.
typedef struct {
    size_t rows;
    size_t width;
    ck_element element;
    const void *input;
    void *output;
} ck_softmax_arguments;
void ck_softmax(const ck_softmax_arguments *arguments);

/// input_gradient = output * (output_gradient - sum of output * output_gradient); may be either's memory.
typedef struct {
    size_t rows;
    size_t width;
    ck_element element;
    const void *output;
    const void *output_gradient;
    void *input_gradient;
} ck_softmax_backward_arguments;
void ck_softmax_backward(const ck_softmax_backward_arguments *arguments);

// ---- movement.c

enum { CK_PERMUTE_RANK = 5 };

/// output[i0, ..., i4] = input[sum of i * stride]; extents in the output's order, the outer ones 1 when there
/// are fewer. Exactly one axis of an extent above 1 has stride 1.
typedef struct {
    size_t extents[CK_PERMUTE_RANK];
    /// In elements of the input.
    size_t strides[CK_PERMUTE_RANK];
    ck_element element;
    const void *input;
    void *output;
} ck_permute_arguments;
void ck_permute(const ck_permute_arguments *arguments);

/// Copies `count` bytes of each of `rows` rows from one place of a source's row to one of an output's.
typedef struct {
    size_t rows;
    size_t count;
    size_t source_stride;
    size_t source_offset;
    size_t output_stride;
    size_t output_offset;
    /// Zeros the rest of the output's rows.
    int32_t zeros_rest;
    const void *source;
    void *output;
} ck_copy_columns_arguments;
void ck_copy_columns(const ck_copy_columns_arguments *arguments);

/// output[b] = the token, then input[b].
typedef struct {
    size_t batch;
    size_t tokens;
    size_t width;
    ck_element element;
    /// [width].
    const float *token;
    /// [batch, tokens, width].
    const void *input;
    /// [batch, tokens + 1, width].
    void *output;
} ck_prepend_token_arguments;
void ck_prepend_token(const ck_prepend_token_arguments *arguments);

// ---- broadcast.c, channels.c

/// output[b, i] = input[b, i] + addend[i]; may be in place.
typedef struct {
    size_t batch;
    size_t count;
    ck_element element;
    const void *input;
    const float *addend;
    void *output;
} ck_add_to_batch_arguments;
void ck_add_to_batch(const ck_add_to_batch_arguments *arguments);

/// sum[i] = sum over b, ascending, of input[b * stride + offset + i].
typedef struct {
    size_t batch;
    size_t count;
    size_t stride;
    size_t offset;
    ck_element element;
    const void *input;
    float *sum;
} ck_sum_over_batch_arguments;
void ck_sum_over_batch(const ck_sum_over_batch_arguments *arguments);

/// output = left * right; may be either's memory.
typedef struct {
    size_t count;
    ck_element element;
    const void *left;
    const void *right;
    void *output;
} ck_multiply_arguments;
void ck_multiply_elements(const ck_multiply_arguments *arguments);

/// left_gradient = gradient * right, right_gradient = gradient * left; each may be any operand's memory.
typedef struct {
    size_t count;
    ck_element element;
    const void *left;
    const void *right;
    const void *output_gradient;
    void *left_gradient;
    void *right_gradient;
} ck_multiply_backward_arguments;
void ck_multiply_elements_backward(const ck_multiply_backward_arguments *arguments);

/// output[b, a, c] = input[b, a, c] * scale[b, c]; may be in place.
typedef struct {
    size_t batch;
    size_t area;
    size_t channels;
    ck_element element;
    const void *input;
    const void *scale;
    void *output;
} ck_scale_channels_arguments;
void ck_scale_channels(const ck_scale_channels_arguments *arguments);

/// input_gradient = output_gradient * scale; scale_gradient = sum over a of output_gradient * input.
typedef struct {
    size_t batch;
    size_t area;
    size_t channels;
    ck_element element;
    const void *input;
    const void *scale;
    const void *output_gradient;
    /// May be `output_gradient` or `input`.
    void *input_gradient;
    void *scale_gradient;
} ck_scale_channels_backward_arguments;
void ck_scale_channels_backward(const ck_scale_channels_backward_arguments *arguments);

/// output[b, c] = mean over a of input[b, a, c], over a < lengths[b] where there are lengths.
typedef struct {
    size_t batch;
    size_t area;
    size_t channels;
    ck_element element;
    const void *input;
    void *output;
    /// [batch], 1 to `area`; NULL for all.
    const int32_t *lengths;
} ck_area_mean_arguments;
void ck_area_mean(const ck_area_mean_arguments *arguments);

/// input_gradient[b, a, c] = output_gradient[b, c] / area, or / lengths[b] and 0 from there on.
typedef struct {
    size_t batch;
    size_t area;
    size_t channels;
    ck_element element;
    const void *output_gradient;
    void *input_gradient;
    /// [batch], 1 to `area`; NULL for all.
    const int32_t *lengths;
} ck_area_mean_backward_arguments;
void ck_area_mean_backward(const ck_area_mean_backward_arguments *arguments);
