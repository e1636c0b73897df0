#include "lane_values.h"

/// Lanes of a row of channels from `c` on; beyond its end they are 0.
CK_INLINE ck_lanes load_channels(const void *elements, size_t row, size_t c, size_t channels,
    const ck_element type) {
    if (c + CK_LANES <= channels) return ck_read(elements, row + c, type);
    return ck_read_some(elements, row + c, channels - c, type);
}

CK_INLINE void store_channels(void *elements, size_t row, size_t c, size_t channels, ck_lanes value,
                              const ck_element type) {
    if (c + CK_LANES <= channels) ck_write(elements, row + c, value, type);
    else ck_write_some(elements, row + c, channels - c, value, type);
}

CK_INLINE void scale_channels(const ck_scale_channels_arguments *a, size_t begin, size_t end,
                              const ck_element type) {
    const size_t channels = a->channels;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t row = unit * channels, scale = unit / a->area * channels;
        for (size_t c = 0; c < channels; c += CK_LANES) {
            ck_lanes value = load_channels(a->input, row, c, channels, type);
            value *= load_channels(a->scale, scale, c, channels, type);
            store_channels(a->output, row, c, channels, value, type);
        }
    }
}

CK_CLONES
static void scale_channels_range(const void *pointer, size_t begin, size_t end) {
    const ck_scale_channels_arguments *a = pointer;
    if (a->element == CK_BFLOAT16) scale_channels(a, begin, end, CK_BFLOAT16);
    else scale_channels(a, begin, end, CK_FLOAT32);
}

void ck_scale_channels(const ck_scale_channels_arguments *arguments) {
    ck_for_units(scale_channels_range, arguments, arguments->batch * arguments->area, arguments->channels);
}

/// One unit is one sample. Sums run over the area in ascending order, four vectors of channels at a time.
CK_INLINE void scale_channels_backward(const ck_scale_channels_backward_arguments *a, size_t begin,
                                       size_t end, const ck_element type) {
    enum { WIDE = 4 };
    const size_t channels = a->channels;
    for (size_t b = begin; b < end; b++) {
        for (size_t first = 0; first < channels; first += WIDE * CK_LANES) {
            ck_lanes sums[WIDE] = {ck_splat(0), ck_splat(0), ck_splat(0), ck_splat(0)};
            for (size_t place = 0; place < a->area; place++) {
                const size_t row = (b * a->area + place) * channels;
#pragma clang loop unroll(full)
                for (size_t v = 0; v < WIDE; v++) {
                    const size_t c = first + v * CK_LANES;
                    if (c >= channels) continue;
                    const ck_lanes gradient = load_channels(a->output_gradient, row, c, channels, type);
                    sums[v] += gradient * load_channels(a->input, row, c, channels, type);
                    const ck_lanes scale = load_channels(a->scale, b * channels, c, channels, type);
                    store_channels(a->input_gradient, row, c, channels, gradient * scale, type);
                }
            }
#pragma clang loop unroll(full)
            for (size_t v = 0; v < WIDE; v++) {
                const size_t c = first + v * CK_LANES;
                if (c < channels) store_channels(a->scale_gradient, b * channels, c, channels, sums[v], type);
            }
        }
    }
}

CK_CLONES
static void scale_channels_backward_range(const void *pointer, size_t begin, size_t end) {
    const ck_scale_channels_backward_arguments *a = pointer;
    if (a->element == CK_BFLOAT16) scale_channels_backward(a, begin, end, CK_BFLOAT16);
    else scale_channels_backward(a, begin, end, CK_FLOAT32);
}

void ck_scale_channels_backward(const ck_scale_channels_backward_arguments *arguments) {
    ck_for_units(scale_channels_backward_range, arguments, arguments->batch,
        arguments->area * arguments->channels);
}

/// One unit is one sample.
/// Places of a sample that count.
CK_INLINE size_t area_of(const int32_t *lengths, size_t sample, size_t area) {
    return lengths && (size_t)lengths[sample] < area ? (size_t)lengths[sample] : area;
}

CK_INLINE void area_mean(const ck_area_mean_arguments *a, size_t begin, size_t end, const ck_element type) {
    const size_t channels = a->channels;
    for (size_t b = begin; b < end; b++) {
        const size_t area = area_of(a->lengths, b, a->area);
        const ck_lanes inverse = ck_splat(1.0f / (float)area);
        for (size_t c = 0; c < channels; c += CK_LANES) {
            ck_lanes sum = ck_splat(0);
            for (size_t place = 0; place < area; place++)
                sum += load_channels(a->input, (b * a->area + place) * channels, c, channels, type);
            store_channels(a->output, b * channels, c, channels, sum * inverse, type);
        }
    }
}

CK_CLONES
static void area_mean_range(const void *pointer, size_t begin, size_t end) {
    const ck_area_mean_arguments *a = pointer;
    if (a->element == CK_BFLOAT16) area_mean(a, begin, end, CK_BFLOAT16);
    else area_mean(a, begin, end, CK_FLOAT32);
}

void ck_area_mean(const ck_area_mean_arguments *arguments) {
    ck_for_units(area_mean_range, arguments, arguments->batch, arguments->area * arguments->channels);
}

CK_INLINE void area_mean_backward(const ck_area_mean_backward_arguments *a, size_t begin, size_t end,
                                  const ck_element type) {
    const size_t channels = a->channels;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t sample = unit / a->area, area = area_of(a->lengths, sample, a->area);
        const ck_lanes factor = ck_splat(unit % a->area < area ? 1.0f / (float)area : 0);
        for (size_t c = 0; c < channels; c += CK_LANES) {
            ck_lanes value = load_channels(a->output_gradient, sample * channels, c, channels, type);
            store_channels(a->input_gradient, unit * channels, c, channels, value * factor, type);
        }
    }
}

CK_CLONES
static void area_mean_backward_range(const void *pointer, size_t begin, size_t end) {
    const ck_area_mean_backward_arguments *a = pointer;
    if (a->element == CK_BFLOAT16) area_mean_backward(a, begin, end, CK_BFLOAT16);
    else area_mean_backward(a, begin, end, CK_FLOAT32);
}

void ck_area_mean_backward(const ck_area_mean_backward_arguments *arguments) {
    ck_for_units(area_mean_backward_range, arguments, arguments->batch * arguments->area,
        arguments->channels);
}
