#include "CData.h"

void cdata_count_values(const uint8_t *bytes, size_t count, size_t channels, size_t phase,
                        uint64_t *histograms) {
    size_t channel = phase % channels;
    for (size_t i = 0; i < count; i++) {
        histograms[channel * 256 + bytes[i]]++;
        if (++channel == channels) channel = 0;
    }
}

uint8_t cdata_largest(const uint8_t *bytes, size_t count) {
    uint8_t largest = 0;
    for (size_t i = 0; i < count; i++) largest = bytes[i] > largest ? bytes[i] : largest;
    return largest;
}

void cdata_look_up(const uint8_t *restrict pixels, size_t count, size_t channels,
                   const float *restrict table, float *restrict output) {
    if (channels == 1) {
        for (size_t i = 0; i < count; i++) output[i] = table[pixels[i]];
        return;
    }
    for (size_t i = 0; i < count; i += channels)
        for (size_t c = 0; c < channels; c++) output[i + c] = table[c * 256 + pixels[i + c]];
}

void cdata_look_up_view(const uint8_t *restrict image, const cdata_view *view,
                        const float *restrict table, float *restrict output) {
    ptrdiff_t height = (ptrdiff_t)view->height, width = (ptrdiff_t)view->width;
    size_t channels = view->channels;
    for (ptrdiff_t y = 0; y < height; y++) {
        ptrdiff_t row = y + view->row_offset;
        for (ptrdiff_t x = 0; x < width; x++, output += channels) {
            ptrdiff_t column = (view->is_flipped ? width - 1 - x : x) + view->column_offset;
            int is_inside = row >= 0 && row < height && column >= 0 && column < width;
            const uint8_t *pixel = is_inside ? image + (size_t)(row * width + column) * channels : NULL;
            for (size_t c = 0; c < channels; c++) output[c] = table[c * 256 + (pixel ? pixel[c] : 0)];
        }
    }
}

void cdata_mix(const float *restrict other, size_t count, float share, float *restrict image) {
    for (size_t i = 0; i < count; i++) image[i] = share * image[i] + (1 - share) * other[i];
}
