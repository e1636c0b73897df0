#pragma once
#include "CKernels.h"

/// Below this many elements a parallel region costs more than it saves.
enum { CK_SERIAL_COUNT = 16384 };

typedef void (*ck_range_body)(const void *arguments, size_t begin, size_t end);

/// Splits 0..<count over the team in whole cache lines of floats; serial when `count * weight` is small.
void ck_for_range(ck_range_body body, const void *arguments, size_t count, size_t weight);

/// As `ck_for_range` for units that are whole rows or more, each of about `weight` elements.
void ck_for_units(ck_range_body body, const void *arguments, size_t count, size_t weight);

/// A body that is compiled once for each element type: called with a constant `ck_element`, it folds away.
#define CK_INLINE static inline __attribute__((always_inline))

/// In front of functions that are compiled for AVX-512 alone: with fewer registers their sums would go through
/// memory, and oneDNN's kernels are the better ones. Only where `ck_has_wide_vectors` may they be called.
#if defined(__x86_64__)
#define CK_WIDE __attribute__((target("arch=x86-64-v4")))
#else
#define CK_WIDE
#endif

/// Before a loop whose iterations touch only elements of their own index: operands may be one memory, and the
/// compiler need not test for that.
#define CK_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")

CK_INLINE float ck_from_bfloat16(uint16_t bits) {
    union { uint32_t u; float f; } value = {.u = (uint32_t)bits << 16};
    return value.f;
}

/// Rounds to nearest, ties to even; NaN stays NaN.
CK_INLINE uint16_t ck_to_bfloat16(float number) {
    union { float f; uint32_t u; } value = {.f = number};
    uint32_t rounded = (value.u + 0x7fff + ((value.u >> 16) & 1)) >> 16;
    uint32_t quiet = (value.u >> 16) | 0x40;
    return (uint16_t)(number != number ? quiet : rounded);
}

CK_INLINE float ck_load(const void *elements, size_t index, const ck_element type) {
    return type == CK_BFLOAT16 ? ck_from_bfloat16(((const uint16_t *)elements)[index])
                               : ((const float *)elements)[index];
}

CK_INLINE void ck_store(void *elements, size_t index, float value, const ck_element type) {
    if (type == CK_BFLOAT16) ((uint16_t *)elements)[index] = ck_to_bfloat16(value);
    else ((float *)elements)[index] = value;
}
