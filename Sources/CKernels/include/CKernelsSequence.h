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
    float scale;
    /// Of dropping an attention probability; 0 = none, and `state` is not read.
    float probability;
    uint32_t layer;
    uint32_t purpose;
    const ck_step_state *state;
    /// Threads that `scratch` is laid out for; a larger team leaves the others idle.
    size_t threads;
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
size_t ck_attention_scratch_count(size_t tokens, size_t head_width);
/// Floats of scratch that one thread needs backward.
size_t ck_attention_backward_scratch_count(size_t tokens, size_t head_width);
