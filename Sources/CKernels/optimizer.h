#pragma once
#include "CKernelsOptimizer.h"

/// Updates elements `begin` to `begin + count` of the first segment by a gradient of these elements alone.
///
/// As `ck_update` does, bit by bit; serial. `arguments->gradient` and `clip` are not read.
void ck_update_part(
    const ck_update_arguments *arguments, const float *gradient, size_t begin, size_t count);
