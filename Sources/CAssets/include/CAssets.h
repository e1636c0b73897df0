#pragma once
#include <stddef.h>

/// One file that is compiled into the binary; `bytes` is valid as long as the process.
typedef struct {
    const char *name;
    const unsigned char *bytes;
    size_t count;
} cassets_file;

/// How many files there are.
size_t cassets_file_count(void);

/// The file at `index`, or one whose members are all zero when there is no such index.
cassets_file cassets_file_at(size_t index);
