#pragma once
#include "CKernels.h"

/// Below this many elements a parallel region costs more than it saves.
enum { CK_SERIAL_COUNT = 16384 };

typedef void (*ck_range_body)(const void *arguments, size_t begin, size_t end);

/// Splits 0..<count over the team in whole cache lines of floats; serial when `count * weight` is small.
void ck_for_range(ck_range_body body, const void *arguments, size_t count, size_t weight);
