#include "parts.h"

size_t ck_part_count(size_t rows, size_t width) {
    // 24 splits evenly over 1, 2, 3, 4, 6, 8, 12 and 24 threads; a part below 16 KB is not worth its sums.
    const size_t most = rows < 24 ? rows : 24;
    const size_t worthwhile = rows * width / 4096;
    return worthwhile < 1 ? 1 : worthwhile < most ? worthwhile : most;
}

typedef struct {
    ck_part_body body;
    const void *arguments;
    size_t parts;
    int backwards;
} part_call;

static void run_parts(void *pointer, int thread, int threads) {
    const part_call *c = pointer;
    const size_t begin = c->parts * (size_t)thread / (size_t)threads;
    const size_t end = c->parts * ((size_t)thread + 1) / (size_t)threads;
    for (size_t part = begin; part < end; part++)
        c->body(c->arguments, c->backwards ? begin + end - 1 - part : part);
}

static void for_parts(part_call call, size_t elements) {
    if (call.parts == 1 || elements < CK_SERIAL_COUNT || ck_team_count() == 1) run_parts(&call, 0, 1);
    else ck_team_run(run_parts, &call);
}

void ck_for_parts(ck_part_body body, const void *arguments, size_t parts, size_t elements) {
    for_parts((part_call){body, arguments, parts, 0}, elements);
}

void ck_for_parts_backwards(ck_part_body body, const void *arguments, size_t parts, size_t elements) {
    for_parts((part_call){body, arguments, parts, 1}, elements);
}
