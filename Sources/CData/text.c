#include "CData.h"

/// Reads one scalar of well-formed UTF-8 at `bytes` and moves behind it.
static inline uint32_t next_scalar(const uint8_t **bytes) {
    const uint8_t *at = *bytes;
    uint32_t first = at[0];
    if (first < 0x80) {
        *bytes = at + 1;
        return first;
    }
    if (first < 0xE0) {
        *bytes = at + 2;
        return (first & 0x1F) << 6 | (at[1] & 0x3F);
    }
    if (first < 0xF0) {
        *bytes = at + 3;
        return (first & 0x0F) << 12 | (uint32_t)(at[1] & 0x3F) << 6 | (at[2] & 0x3F);
    }
    *bytes = at + 4;
    return (first & 0x07) << 18 | (uint32_t)(at[1] & 0x3F) << 12 | (uint32_t)(at[2] & 0x3F) << 6 |
           (at[3] & 0x3F);
}

/// Bytes of the scalar that starts at `bytes`, of which `left` are there; 0 when it is malformed.
///
/// Table 3-7 of the Unicode standard: the second byte's range excludes overlong forms, surrogates and
/// what lies above U+10FFFF.
static size_t scalar_length(const uint8_t *bytes, size_t left) {
    uint8_t first = bytes[0];
    if (first < 0x80) return 1;
    if (first < 0xC2 || first > 0xF4) return 0;
    size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (left < length) return 0;
    uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (bytes[1] < low || bytes[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if ((bytes[i] & 0xC0) != 0x80) return 0;
    return length;
}

size_t cdata_utf8_fault(const uint8_t *bytes, size_t count) {
    size_t i = 0;
    while (i < count) {
        size_t length = scalar_length(bytes + i, count - i);
        if (length == 0) return i;
        i += length;
    }
    return count;
}

size_t cdata_mark_scalars(const uint8_t *bytes, size_t count, uint8_t *seen) {
    const uint8_t *at = bytes, *end = bytes + count;
    size_t scalars = 0;
    for (; at < end; scalars++) seen[next_scalar(&at)] = 1;
    return scalars;
}

void cdata_map_scalars(const uint8_t *bytes, size_t count, const uint16_t *table, uint16_t *tokens) {
    const uint8_t *at = bytes, *end = bytes + count;
    while (at < end) *tokens++ = table[next_scalar(&at)];
}

void cdata_map_bytes(const uint8_t *restrict bytes, size_t count, uint16_t first, uint16_t *restrict tokens) {
    for (size_t i = 0; i < count; i++) tokens[i] = (uint16_t)(first + bytes[i]);
}

void cdata_widen(const uint16_t *restrict tokens, size_t count, int32_t *restrict output) {
    for (size_t i = 0; i < count; i++) output[i] = tokens[i];
}
