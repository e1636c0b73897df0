#pragma once
#include <stddef.h>
#include <stdint.h>

/// Adds each byte's value to the histogram of its channel.
///
/// `histograms` is [channels][256]; byte i belongs to channel (phase + i) mod channels.
void cdata_count_values(const uint8_t *bytes, size_t count, size_t channels, size_t phase,
                        uint64_t *histograms);

/// The largest of `count` bytes; 0 of none.
uint8_t cdata_largest(const uint8_t *bytes, size_t count);

/// Computes output[i] = table[i mod channels][pixels[i]]. `table` is [channels][256].
void cdata_look_up(const uint8_t *pixels, size_t count, size_t channels, const float *table, float *output);

/// Computes image[i] = share * image[i] + (1 - share) * other[i].
void cdata_mix(const float *other, size_t count, float share, float *image);

/// Where an augmented image takes its pixels from; all extents and offsets in pixels.
typedef struct {
    size_t height, width, channels;
    /// Output pixel (y, x) shows input pixel (y + row_offset, x' + column_offset), x' = x or, flipped,
    /// width - 1 - x; pixels outside the input are black (value 0).
    ptrdiff_t row_offset, column_offset;
    int is_flipped;
} cdata_view;

/// Like cdata_look_up() for one image [height, width, channels], shifted and flipped.
void cdata_look_up_view(const uint8_t *image, const cdata_view *view, const float *table, float *output);

/// Where the first byte stands that no well-formed UTF-8 starts with; `count` when there is none.
size_t cdata_utf8_fault(const uint8_t *bytes, size_t count);

/// Sets seen[s] = 1 for each scalar s of well-formed UTF-8, and counts the scalars. `seen` is [0x110000].
size_t cdata_mark_scalars(const uint8_t *bytes, size_t count, uint8_t *seen);

/// Writes table[s] for each scalar s of well-formed UTF-8. `table` is [0x110000].
void cdata_map_scalars(const uint8_t *bytes, size_t count, const uint16_t *table, uint16_t *tokens);

/// Computes tokens[i] = first + bytes[i].
void cdata_map_bytes(const uint8_t *bytes, size_t count, uint16_t first, uint16_t *tokens);

/// Computes output[i] = tokens[i].
void cdata_widen(const uint16_t *tokens, size_t count, int32_t *output);

/// What the elements of an array are.
typedef enum { CDATA_UNSIGNED, CDATA_SIGNED, CDATA_FLOAT } cdata_number;

/// Computes bytes[i] = scale * elements[i] where that is a whole number from 0 to 255.
///
/// An element has `size` bytes (1, 2, 4 or 8; floats 4 or 8), in the other byte order where `is_swapped`. With a
/// scale of 1 the number must be exact; otherwise it may be off by 0.001, as a float32 divided by 255 is.
/// Returns the index of the first element that is none; `count` when all are.
size_t cdata_to_bytes(const uint8_t *elements, cdata_number kind, size_t size, int is_swapped, double scale,
                      size_t count, uint8_t *bytes);

/// Undoes the filter of one row of a PNG image; `above` is the row before, zeros in front of the first.
///
/// `step` is the bytes of a whole pixel, at least 1. Returns 0, or -1 for a filter that PNG does not have.
int cdata_unfilter(int filter, uint8_t *row, const uint8_t *above, size_t count, size_t step);

/// Widens samples of 1, 2 or 4 bits to a byte each; of 16 bits it keeps the upper byte.
///
/// Where `is_scaled`, the largest value becomes 255; otherwise values stay as they are (indices of a palette).
void cdata_widen_samples(const uint8_t *row, size_t count, size_t bits, int is_scaled, uint8_t *samples);
