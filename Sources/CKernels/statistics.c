#include "internal.h"

void ck_running_statistics(const ck_running_statistics_arguments *a) {
    for (size_t c = 0; c < a->channels; c++) {
        a->running_mean[c] = (1 - a->momentum) * a->running_mean[c] + a->momentum * a->mean[c];
        a->running_variance[c] =
            (1 - a->momentum) * a->running_variance[c] + a->momentum * a->correction * a->variance[c];
    }
}
