#include "rows.h"

typedef struct {
    ck_loss_body body;
    const ck_loss_arguments *arguments;
} rows_call;

static void run_rows(void *pointer, int thread, int threads) {
    const rows_call *call = pointer;
    const size_t rows = call->arguments->rows;
    const size_t begin = rows * (size_t)thread / (size_t)threads;
    const size_t end = rows * ((size_t)thread + 1) / (size_t)threads;
    if (begin < end) call->body(call->arguments, begin, end);
}

void ck_for_rows(ck_loss_body body, const ck_loss_arguments *arguments) {
    rows_call call = {body, arguments};
    // A row's element costs about four times what an element-wise kernel's does.
    const int isSmall = arguments->rows * arguments->width * 4 < CK_SERIAL_COUNT;
    if (isSmall || ck_team_count() == 1) run_rows(&call, 0, 1);
    else ck_team_run(run_rows, &call);
    ck_loss_result sums = {.rows = (int64_t)arguments->rows};
    for (size_t row = 0; row < arguments->rows; row++) {
        sums.loss_sum += arguments->row_loss[row];
        sums.correct += arguments->row_correct[row] > 0;
        sums.counted += arguments->row_correct[row] >= 0;
    }
    *arguments->result = sums;
}
