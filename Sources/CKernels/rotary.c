#include "lane_values.h"

/// (x, y) turned by the angle whose cosine and sine are given.
CK_INLINE void turn(ck_lanes *x, ck_lanes *y, ck_lanes cosine, ck_lanes sine) {
    const ck_lanes first = *x * cosine - *y * sine;
    *y = *y * cosine + *x * sine;
    *x = first;
}

/// One unit is one token of one sequence.
CK_INLINE void rotate(const ck_rotary_arguments *a, size_t begin, size_t end, const ck_element type) {
    const size_t width = a->heads * a->head_width, half = a->head_width / 2,
        whole = half / CK_LANES * CK_LANES;
    const float direction = a->inverse ? -1.0f : 1.0f;
    for (size_t unit = begin; unit < end; unit++) {
        const float *cosines = a->table + unit % a->tokens * a->head_width, *sines = cosines + half;
        // The queries' heads, and the keys' right behind them.
        for (size_t head = 0; head < 2 * a->heads; head++) {
            const size_t low = unit * 3 * width + head * a->head_width, high = low + half;
            for (size_t i = 0; i < whole; i += CK_LANES) {
                ck_lanes x = ck_read(a->qkv, low + i, type), y = ck_read(a->qkv, high + i, type);
                turn(&x, &y, ck_read(cosines, i, CK_FLOAT32),
                     ck_read(sines, i, CK_FLOAT32) * ck_splat(direction));
                ck_write(a->qkv, low + i, x, type);
                ck_write(a->qkv, high + i, y, type);
            }
            if (whole == half) continue;
            const size_t rest = half - whole;
            ck_lanes x = ck_read_some(a->qkv, low + whole, rest, type);
            ck_lanes y = ck_read_some(a->qkv, high + whole, rest, type);
            turn(&x, &y, ck_read_some(cosines, whole, rest, CK_FLOAT32),
                 ck_read_some(sines, whole, rest, CK_FLOAT32) * ck_splat(direction));
            ck_write_some(a->qkv, low + whole, rest, x, type);
            ck_write_some(a->qkv, high + whole, rest, y, type);
        }
    }
}

CK_CLONES
static void rotary_range(const void *pointer, size_t begin, size_t end) {
    const ck_rotary_arguments *a = pointer;
    if (a->element == CK_BFLOAT16) rotate(a, begin, end, CK_BFLOAT16);
    else rotate(a, begin, end, CK_FLOAT32);
}

void ck_rotary(const ck_rotary_arguments *arguments) {
    ck_for_units(rotary_range, arguments, arguments->batch * arguments->tokens,
                 2 * arguments->heads * arguments->head_width);
}
