#pragma once
#include "internal.h"

typedef void (*ck_part_body)(const void *arguments, size_t part);

/// Runs `body` for every part, spread over the team; serial when there are few `elements`.
void ck_for_parts(ck_part_body body, const void *arguments, size_t parts, size_t elements);

/// The same from each thread's last part to its first: what a pass before has read last is in the caches
/// still.
void ck_for_parts_backwards(ck_part_body body, const void *arguments, size_t parts, size_t elements);
