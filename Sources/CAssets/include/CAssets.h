#pragma once
#include <stddef.h>

/// One file that is compiled into the binary.
typedef struct {
    const char *name;
    const unsigned char *bytes;
    size_t count;
} cassets_file;

extern const cassets_file cassets_files[];
extern const size_t cassets_file_count;
