// Loops that oneDNN lacks, one family per C file, all on the thread team that oneDNN runs on.
//
// Every kernel takes one argument block that lives as long as the plan: the planner fills it once, a step only
// calls it. Sizes are in elements. Pointers may alias only where a comment says so.
#pragma once
#include <stdint.h>
#include <stddef.h>

// The loader chooses among clones before ThreadSanitizer has begun, and crashes in what it calls for that.
#if defined(__x86_64__) && !__has_feature(thread_sanitizer)
#define CK_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CK_CLONES
#endif

// ---- team.c

/// Sets the number of threads of the calling thread's team; oneDNN primitives created afterwards fix it.
void ck_team_use(int threads);
/// Ends the threads of the calling thread's team; the next call that computes starts them anew.
void ck_team_release(void);
/// The number of threads that the calling thread's team has.
int ck_team_count(void);
/// Fills `ids` with the kernel thread ids of the calling thread's team and returns how many there are.
int ck_team_thread_ids(int32_t *ids, int capacity);
/// Runs `body(data, thread, threads)` on every thread of the team.
void ck_team_run(void (*body)(void *data, int thread, int threads), void *data);
/// Parallel regions that the calling thread has started; a plan's launch overhead is this many.
uint64_t ck_team_region_count(void);

// ---- memory.c

/// Gives freed heap memory back to the system; glibc keeps it otherwise, and Swift does not see malloc_trim.
void ck_return_memory(void);
/// Drops the pages of code that are mapped; those that run are mapped again when they do.
void ck_forget_code(void);
/// Bounds the number of heaps that glibc spreads the threads over.
void ck_limit_arenas(int count);

// ---- What a kernel's activations are stored as; it computes in float32 either way.

typedef int32_t ck_element;
enum { CK_FLOAT32 = 0, CK_BFLOAT16 = 1 };

// ---- What a step reads that changes from step to step.

typedef struct {
    uint64_t seed;
    uint64_t step;
    float learning_rate;
    /// 1 / (samples that the gradient is averaged over).
    float inverse_count;
    /// 1 - beta1^t and sqrt(1 - beta2^t) at the optimiser's step t, counted from 1; 1 without correction.
    float bias_correction1;
    float bias_correction2_root;
    /// Which part of an accumulated gradient it is, counted from 0.
    uint32_t micro_batch;
    /// What a distillation's soft loss is multiplied by: rises from 0 to 1 in a warm-up.
    float soft_weight;
    /// Whether the scores of weights are gathered.
    uint32_t gathers_scores;
    /// 1 / (samples of the batch), which has fewer than rows where these are tokens.
    float inverse_samples;
    /// Whether the ranges of activations follow what passes by.
    uint32_t moves_ranges;
} ck_step_state;

// ---- elementwise.c

/// output = left + right; any may alias.
typedef struct {
    size_t count;
    const void *left;
    const void *right;
    void *output;
    ck_element type;
} ck_add_arguments;
void ck_add(const ck_add_arguments *arguments);

/// output = factor * input, its own backward pass; may be in place.
typedef struct {
    size_t count;
    const void *input;
    void *output;
    ck_element type;
    float factor;
} ck_scale_arguments;
void ck_scale(const ck_scale_arguments *arguments);

/// gradient = output > 0 ? left + right : 0, what reaches a ReLU whose output two branches read; any may alias.
typedef struct {
    size_t count;
    const void *left;
    const void *right;
    const void *output;
    void *gradient;
    ck_element type;
} ck_add_relu_backward_arguments;
void ck_add_relu_backward(const ck_add_relu_backward_arguments *arguments);

/// output = input in another type: bfloat16 as float32 (`ck_widen`), float32 rounded to bfloat16, to nearest,
/// ties to even (`ck_narrow`), or to the float32 number that a bfloat16 holds (`ck_round`). Nothing may alias.
typedef struct {
    size_t count;
    const void *input;
    void *output;
} ck_convert_arguments;
void ck_widen(const ck_convert_arguments *arguments);
void ck_narrow(const ck_convert_arguments *arguments);
void ck_round(const ck_convert_arguments *arguments);

// ---- low_rank.c

/// weight += factor * up down, summed in float64 and rounded once: `weight` is [outputs, inputs], `up`
/// [outputs, rank], `down` [rank, inputs], all row-major.
typedef struct {
    size_t outputs;
    size_t inputs;
    size_t rank;
    double factor;
    float *weight;
    const float *down;
    const float *up;
} ck_low_rank_merge_arguments;
void ck_low_rank_merge(const ck_low_rank_merge_arguments *arguments);

/// result = thin^T wide: the weight gradient of a product between `thin_count` features and many.
///
/// `thin` is [rows, thin_count] and `wide` [rows, wide_count], both of `element`; `result` is
/// [thin_count, wide_count], or [wide_count, thin_count] where `is_turned`. Summed over the rows in order.
typedef struct {
    size_t rows;
    size_t thin_count;
    size_t wide_count;
    const void *thin;
    const void *wide;
    float *result;
    int32_t is_turned;
    ck_element element;
} ck_thin_weights_arguments;
void ck_thin_weights(const ck_thin_weights_arguments *arguments);

// ---- dropout.c

/// output[i] = kept(i) ? input[i] / (1 - p) : 0, kept by Philox4x32-10 at (seed, step, layer, i); its own
/// backward pass. May be in place.
typedef struct {
    size_t count;
    const void *input;
    void *output;
    ck_element type;
    float probability;
    uint32_t layer;
    uint32_t purpose;
    const ck_step_state *state;
} ck_dropout_arguments;
void ck_dropout(const ck_dropout_arguments *arguments);

// ---- statistics.c

/// running = (1 - momentum) * running + momentum * batch, the variance with the n / (n - 1) correction.
typedef struct {
    size_t channels;
    const float *mean;
    const float *variance;
    float *running_mean;
    float *running_variance;
    float momentum;
    /// n / (n - 1) for n values per channel.
    float correction;
} ck_running_statistics_arguments;
void ck_running_statistics(const ck_running_statistics_arguments *arguments);

// ---- triad.c

/// output = left + factor * right (McCalpin's STREAM): measures how fast memory is. Nothing may alias.
typedef struct {
    size_t count;
    float factor;
    const float *restrict left;
    const float *restrict right;
    float *restrict output;
} ck_triad_arguments;
void ck_triad(const ck_triad_arguments *arguments);

#include "CKernelsConvolution.h"
#include "CKernelsLoss.h"
#include "CKernelsNorms.h"
#include "CKernelsOptimizer.h"
#include "CKernelsQuantization.h"
#include "CKernelsSequence.h"
#include "CKernelsSparse.h"
