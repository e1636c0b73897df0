#include "CData.h"
#include <math.h>
#include <string.h>

static double load(const uint8_t *element, cdata_number kind, size_t size, int is_swapped) {
    uint64_t bits = 0;
    for (size_t i = 0; i < size; i++) bits |= (uint64_t)element[is_swapped ? size - 1 - i : i] << (8 * i);
    if (kind == CDATA_UNSIGNED) return (double)bits;
    if (kind == CDATA_SIGNED) {
        size_t unused = 64 - 8 * size;
        return (double)((int64_t)(bits << unused) >> unused);
    }
    if (size == 8) {
        double value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    uint32_t word = (uint32_t)bits;
    float value;
    memcpy(&value, &word, sizeof value);
    return (double)value;
}

size_t cdata_to_bytes(const uint8_t *elements, cdata_number kind, size_t size, int is_swapped, double scale,
                      size_t count, uint8_t *bytes) {
    if (kind == CDATA_UNSIGNED && size == 1 && scale == 1) {
        memcpy(bytes, elements, count);
        return count;
    }
    double tolerance = scale == 1 ? 0 : 0.001;
    for (size_t i = 0; i < count; i++) {
        double value = scale * load(elements + i * size, kind, size, is_swapped);
        double whole = floor(value + 0.5);
        // Not a number fails each comparison.
        if (!(whole >= 0 && whole <= 255 && fabs(value - whole) <= tolerance)) return i;
        bytes[i] = (uint8_t)whole;
    }
    return count;
}

static uint8_t paeth(int left, int above, int corner) {
    int guess = left + above - corner;
    int to_left = guess > left ? guess - left : left - guess;
    int to_above = guess > above ? guess - above : above - guess;
    int to_corner = guess > corner ? guess - corner : corner - guess;
    if (to_left <= to_above && to_left <= to_corner) return (uint8_t)left;
    return (uint8_t)(to_above <= to_corner ? above : corner);
}

int cdata_unfilter(int filter, uint8_t *row, const uint8_t *above, size_t count, size_t step) {
    switch (filter) {
    case 0: return 0;
    case 1:
        for (size_t i = step; i < count; i++) row[i] = (uint8_t)(row[i] + row[i - step]);
        return 0;
    case 2:
        for (size_t i = 0; i < count; i++) row[i] = (uint8_t)(row[i] + above[i]);
        return 0;
    case 3:
        for (size_t i = 0; i < count; i++)
            row[i] = (uint8_t)(row[i] + (((i < step ? 0 : row[i - step]) + above[i]) >> 1));
        return 0;
    case 4:
        for (size_t i = 0; i < count; i++)
            row[i] = (uint8_t)(row[i] + paeth(i < step ? 0 : row[i - step], above[i], i < step ? 0 : above[i - step]));
        return 0;
    default: return -1;
    }
}

void cdata_widen_samples(const uint8_t *row, size_t count, size_t bits, int is_scaled, uint8_t *samples) {
    if (bits == 8) {
        memcpy(samples, row, count);
        return;
    }
    if (bits == 16) {
        for (size_t i = 0; i < count; i++) samples[i] = row[2 * i];
        return;
    }
    unsigned most = (1u << bits) - 1, factor = is_scaled ? 255 / most : 1;
    for (size_t i = 0; i < count; i++) {
        size_t bit = i * bits;
        unsigned value = (unsigned)(row[bit / 8] >> (8 - bits - bit % 8)) & most;
        samples[i] = (uint8_t)(value * factor);
    }
}
