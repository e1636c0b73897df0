#include "activation.h"
#include "parts.h"
#include <math.h>

// Partial sums of a row, so that its sums are vectors; element i of a row goes to lane i % LANES.
enum { LANES = 32 };

/// The sums of two sets of lanes, each by halves; both at once, since a sum alone waits for each step.
CK_INLINE void sum_lanes(const float *left, const float *right, float *sums) {
    float a[16], b[16];
    for (int lane = 0; lane < 16; lane++) {
        a[lane] = left[lane] + left[lane + 16];
        b[lane] = right[lane] + right[lane + 16];
    }
    float c[16];
    for (int lane = 0; lane < 8; lane++) {
        c[lane] = a[lane] + a[lane + 8];
        c[lane + 8] = b[lane] + b[lane + 8];
    }
    float d[8];
    for (int lane = 0; lane < 4; lane++) {
        d[lane] = c[lane] + c[lane + 4];
        d[lane + 4] = c[lane + 8] + c[lane + 12];
    }
    sums[0] = (d[0] + d[2]) + (d[1] + d[3]);
    sums[1] = (d[4] + d[6]) + (d[5] + d[7]);
}

/// What a row is normalised by: (x - mean - residue) * deviation.
typedef struct {
    float mean;
    /// What the mean lost in rounding, or rather its distance from something near.
    float residue;
    /// 1 / sqrt(variance + epsilon)
    float deviation;
} row_statistics;

CK_INLINE row_statistics measure(
    const void *source, size_t base, size_t width, float epsilon, const int centered, const ck_element type) {
    // Distances from the row's first element: a variance is not the difference of two large numbers then.
    const float center = centered ? ck_load(source, base, type) : 0, inverse = 1 / (float)width;
    float sums[LANES] = {0}, squares[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= width; i += LANES)
        for (size_t lane = 0; lane < LANES; lane++) {
            const float d = ck_load(source, base + i + lane, type) - center;
            sums[lane] += d;
            squares[lane] += d * d;
        }
    for (size_t lane = 0; i + lane < width; lane++) {
        const float d = ck_load(source, base + i + lane, type) - center;
        sums[lane] += d;
        squares[lane] += d * d;
    }
    float totals[2];
    sum_lanes(sums, squares, totals);
    const float distance = centered ? totals[0] * inverse : 0;
    const float variance = totals[1] * inverse - distance * distance;
    return (row_statistics){
        .mean = center,
        .residue = distance,
        .deviation = 1 / sqrtf((variance < 0 ? 0 : variance) + epsilon),
    };
}

/// The one expression, so that a backward pass finds the very input that an activation had.
CK_INLINE float normalized(
    const float x, const row_statistics s, const float *scale, const float *shift, size_t i,
    const int has_scale, const int has_shift) {
    float y = (x - s.mean - s.residue) * s.deviation;
    if (has_scale) y *= scale[i];
    if (has_shift) y += shift[i];
    return y;
}

CK_INLINE void forward_row(
    const ck_row_norm_arguments *a, size_t row, const int centered, const int has_scale, const int has_shift,
    const ck_element type) {
    const size_t width = a->width, base = row * width;
    const void *source = a->input, *residual = a->residual;
    if (residual) {
        void *sum = a->sum;
        CK_INDEPENDENT
        for (size_t i = base; i < base + width; i++)
            ck_store(sum, i, ck_load(source, i, type) + ck_load(residual, i, type), type);
        source = sum;
    }
    const row_statistics s = measure(source, base, width, a->epsilon, centered, type);
    a->saved[row] = s.deviation;
    if (centered) {
        a->saved[a->rows + row] = s.mean;
        a->saved[2 * a->rows + row] = s.residue;
    }
    const float *scale = a->scale, *shift = a->shift;
    void *output = a->output;
    CK_INDEPENDENT
    for (size_t i = 0; i < width; i++) {
        const float x = ck_load(source, base + i, type);
        ck_store(output, base + i, normalized(x, s, scale, shift, i, has_scale, has_shift), type);
    }
    if (a->activation == CK_ACTIVATION_NONE) return;
    const ck_activation_arguments behind = {
        .input = output, .output = output, .kind = a->activation, .type = type, .slope = a->slope};
    ck_activate_some(&behind, base, base + width);
}

/// Calls `body(..., centered, has_scale, has_shift, type)` with constants; `shift` tells whether there is
/// one.
#define EACH_FORM(body, shift, ...)                                                                          \
    if (a->type == CK_BFLOAT16) EACH_AFFINE(body, shift, CK_BFLOAT16, __VA_ARGS__)                           \
    else EACH_AFFINE(body, shift, CK_FLOAT32, __VA_ARGS__)
#define EACH_AFFINE(body, shift, type, ...)                                                                  \
    {                                                                                                        \
        if (!a->centered && !a->scale) body(__VA_ARGS__, 0, 0, 0, type);                                     \
        else if (!a->centered) body(__VA_ARGS__, 0, 1, 0, type);                                             \
        else if (!a->scale) body(__VA_ARGS__, 1, 0, 0, type);                                                \
        else if (!(shift)) body(__VA_ARGS__, 1, 1, 0, type);                                                 \
        else body(__VA_ARGS__, 1, 1, 1, type);                                                               \
    }

CK_INLINE void forward_rows(
    const ck_row_norm_arguments *a, size_t begin, size_t end, const int centered, const int has_scale,
    const int has_shift, const ck_element type) {
    for (size_t row = begin; row < end; row++) forward_row(a, row, centered, has_scale, has_shift, type);
}

CK_CLONES
static void forward_range(const void *pointer, size_t begin, size_t end) {
    const ck_row_norm_arguments *a = pointer;
    EACH_FORM(forward_rows, a->shift, a, begin, end)
}

void ck_row_norm(const ck_row_norm_arguments *arguments) {
    ck_for_range(forward_range, arguments, arguments->rows, arguments->width);
}

// ---- Backward

/// One element's normalised input and its output's gradient times its scale.
#define NORMALIZED(i) ((ck_load(input, base + (i), type) - mean) * deviation)
#define SCALED(i) (has_scale ? ck_load(gradient, from + (i), type) * scale[i]                                \
                             : ck_load(gradient, from + (i), type))

/// The sums over a row of the scaled gradient and of its product with the normalised input.
typedef struct {
    float gradient;
    float product;
} row_sums;

CK_INLINE row_sums sum_row(
    const ck_row_norm_backward_arguments *a, size_t base, const void *gradient, size_t from, float mean,
    float deviation, const int centered, const int has_scale, const ck_element type) {
    const size_t width = a->width;
    const void *input = a->input;
    const float *scale = a->scale;
    float sums[LANES] = {0}, products[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= width; i += LANES)
        for (size_t lane = 0; lane < LANES; lane++) {
            const float g = SCALED(i + lane);
            if (centered) sums[lane] += g;
            products[lane] += g * NORMALIZED(i + lane);
        }
    for (size_t lane = 0; i + lane < width; lane++) {
        const float g = SCALED(i + lane);
        if (centered) sums[lane] += g;
        products[lane] += g * NORMALIZED(i + lane);
    }
    float totals[2];
    sum_lanes(sums, products, totals);
    return (row_sums){totals[0], totals[1]};
}

/// The gradients of the activation's inputs, which are made again, of one row; into `line`.
CK_INLINE void pass_activation(
    const ck_row_norm_backward_arguments *a, size_t base, const row_statistics s, void *line,
    const int has_scale, const int has_shift, const ck_element type) {
    const size_t width = a->width;
    const void *input = a->input;
    const float *scale = a->scale, *shift = a->shift;
    for (size_t i = 0; i < width; i++) {
        const float x = ck_load(input, base + i, type);
        ck_store(line, i, normalized(x, s, scale, shift, i, has_scale, has_shift), type);
    }
    const size_t size = type == CK_BFLOAT16 ? sizeof(uint16_t) : sizeof(float);
    const ck_activation_backward_arguments behind = {
        .gradient_out = (const char *)a->gradient_out + base * size,
        .gradient_in = line,
        .kind = a->activation,
        .type = type,
        .slope = a->slope,
    };
    ck_differentiate_inputs(&behind, line, width);
}

CK_INLINE void backward_row(
    const ck_row_norm_backward_arguments *a, size_t row, float *scale_sums, float *shift_sums, void *line,
    const int centered, const int has_scale, const int has_shift, const ck_element type) {
    const size_t width = a->width, base = row * width;
    const void *input = a->input, *gradient = a->gradient_out, *addend = a->addend;
    const float *scale = a->scale;
    void *gradient_in = a->gradient_in;
    const row_statistics s = {
        .mean = centered ? a->saved[a->rows + row] : 0,
        .residue = centered ? a->saved[2 * a->rows + row] : 0,
        .deviation = a->saved[row],
    };
    size_t from = base;
    if (line) {
        pass_activation(a, base, s, line, has_scale, has_shift, type);
        gradient = line;
        from = 0;
    }
    const float deviation = s.deviation, mean = s.mean + s.residue;
    const row_sums sums = sum_row(a, base, gradient, from, mean, deviation, centered, has_scale, type);
    const float level = sums.gradient / (float)width, slope = sums.product / (float)width;
    if (has_scale) {
        CK_INDEPENDENT
        for (size_t i = 0; i < width; i++) {
            const float g = ck_load(gradient, from + i, type);
            scale_sums[i] += g * NORMALIZED(i);
            if (has_shift) shift_sums[i] += g;
        }
    }
    if (addend) {
        CK_INDEPENDENT
        for (size_t i = 0; i < width; i++) {
            const float g = (SCALED(i) - level - NORMALIZED(i) * slope) * deviation;
            ck_store(gradient_in, base + i, g + ck_load(addend, base + i, type), type);
        }
        return;
    }
    CK_INDEPENDENT
    for (size_t i = 0; i < width; i++)
        ck_store(gradient_in, base + i, (SCALED(i) - level - NORMALIZED(i) * slope) * deviation, type);
}

/// Lines of a part's scratch: the gradients of scale and shift, and one of the activation's.
static size_t lines_of(const ck_row_norm_backward_arguments *a) {
    return a->activation == CK_ACTIVATION_NONE ? 2 : 3;
}

CK_INLINE void backward_rows(
    const ck_row_norm_backward_arguments *a, size_t part, const int centered, const int has_scale,
    const int has_shift, const ck_element type) {
    const size_t begin = a->rows * part / a->parts, end = a->rows * (part + 1) / a->parts;
    float *own = a->scratch + part * lines_of(a) * a->width;
    float *scale_sums = has_scale ? own : NULL;
    float *shift_sums = has_shift ? scale_sums + a->width : NULL;
    if (has_scale)
        for (size_t i = 0; i < 2 * a->width; i++) scale_sums[i] = 0;
    void *line = a->activation == CK_ACTIVATION_NONE ? NULL : own + 2 * a->width;
    for (size_t row = begin; row < end; row++)
        backward_row(a, row, scale_sums, shift_sums, line, centered, has_scale, has_shift, type);
}

CK_CLONES
static void backward_part(const void *pointer, size_t part) {
    const ck_row_norm_backward_arguments *a = pointer;
    EACH_FORM(backward_rows, a->shift_gradient, a, part)
}

/// Adds the parts' sums up in their order.
CK_CLONES
static void finish_sums(const ck_row_norm_backward_arguments *a, size_t offset, float *gradient) {
    const size_t width = a->width, lines = lines_of(a);
    const float *sums = a->scratch + offset;
    for (size_t i = 0; i < width; i++) {
        double sum = 0;
        for (size_t part = 0; part < a->parts; part++) sum += (double)sums[part * lines * width + i];
        gradient[i] = (float)sum;
    }
}

void ck_row_norm_backward(const ck_row_norm_backward_arguments *a) {
    ck_for_parts(backward_part, a, a->parts, a->rows * a->width);
    if (a->scale) finish_sums(a, 0, a->scale_gradient);
    if (a->shift_gradient) finish_sums(a, a->width, a->shift_gradient);
}
