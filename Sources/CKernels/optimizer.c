#include "internal.h"

CK_CLONES
static void sgd_range(const void *pointer, size_t begin, size_t end) {
    const ck_sgd_arguments *a = pointer;
    float *restrict weight = a->weight;
    const float *restrict gradient = a->gradient;
    float *restrict velocity = a->velocity;
    const float rate = a->state->learning_rate, momentum = a->momentum, decay = a->weight_decay;
    if (!velocity) {
        for (size_t i = begin; i < end; i++) weight[i] -= rate * (gradient[i] + decay * weight[i]);
    } else if (a->nesterov) {
        for (size_t i = begin; i < end; i++) {
            float g = gradient[i] + decay * weight[i];
            float v = momentum * velocity[i] + g;
            velocity[i] = v;
            weight[i] -= rate * (g + momentum * v);
        }
    } else {
        for (size_t i = begin; i < end; i++) {
            float v = momentum * velocity[i] + (gradient[i] + decay * weight[i]);
            velocity[i] = v;
            weight[i] -= rate * v;
        }
    }
}

void ck_sgd(const ck_sgd_arguments *arguments) { ck_for_range(sgd_range, arguments, arguments->count, 1); }
