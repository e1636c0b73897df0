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
