// What the losses over rows share.
#pragma once
#include "CKernelsLoss.h"
#include "lanes.h"

/// Computes rows `begin` to `end`.
typedef void (*ck_loss_body)(const ck_loss_arguments *arguments, size_t begin, size_t end);

/// Runs `body` over all rows, split evenly over the team, and sums the rows in their order.
///
/// So the result does not depend on the number of threads.
void ck_for_rows(ck_loss_body body, const ck_loss_arguments *arguments);

/// The largest of the row's outputs; NaN counts as the smallest.
CK_INLINE float ck_row_maximum(const void *elements, size_t start, size_t width, const ck_element type) {
    ck_lanes largest = -INFINITY;
    for (size_t c = 0; c < width; c += CK_LANES) {
        ck_lanes some;
        ck_load_lanes(&some, elements, start + c, width - c, -INFINITY, type);
        largest = some > largest ? some : largest;
    }
    float maximum = -INFINITY;
    for (int lane = 0; lane < CK_LANES; lane++) maximum = largest[lane] > maximum ? largest[lane] : maximum;
    return maximum;
}

/// Whether element `place` is the first of the row's elements that equal `maximum`.
CK_INLINE int ck_is_first(
    const void *elements, size_t start, size_t place, float maximum, const ck_element type) {
    if (!(ck_load(elements, start + place, type) == maximum)) return 0;
    int32_t earlier = 0;
    for (size_t c = 0; c < place; c++) earlier |= ck_load(elements, start + c, type) == maximum;
    return earlier == 0;
}

/// The first index of the largest target.
CK_INLINE size_t ck_first_largest(const float *values, size_t width) {
    const float maximum = ck_row_maximum(values, 0, width, CK_FLOAT32);
    size_t place = 0;
    while (place + 1 < width && !(values[place] == maximum)) place += 1;
    return place;
}

/// Deals with a row that has no loss of its own: ignored, or labelled by nothing that exists.
///
/// Returns whether the row is such a one.
CK_INLINE int ck_skips_row(const ck_loss_arguments *a, size_t row, const ck_element type) {
    if (!a->labels) return 0;
    const int32_t label = a->labels[row];
    const int isIgnored = label == a->ignored_label;
    if (!isIgnored && label >= 0 && (size_t)label < a->width) return 0;
    a->row_loss[row] = isIgnored ? 0 : NAN;
    a->row_correct[row] = isIgnored ? -1 : 0;
    if (a->gradient) {
        for (size_t c = 0; c < a->width; c++) ck_store(a->gradient, row * a->width + c, 0, type);
    }
    return 1;
}
