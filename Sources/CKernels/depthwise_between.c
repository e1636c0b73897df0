#include "depthwise.h"

// The backward pass of a depthwise convolution between two batch normalisations, in one sweep: the second
// pass of the normalisation behind it, its own two gradients, and the first pass of the one in front.
//
// Every pixel of the input meets nine gradients of the output. Each of the products adds to the pixel's own
// gradient (with the tap) and to the tap's (with the pixel), so that the input is read once, and what lies
// between the passes is never stored.

typedef ck_depthwise_between_arguments arguments;

/// Sums for each channel: nine taps, the bias, the gradient behind the activation, that times distances.
enum { TAPS = 9, BIAS = 9, LEVEL = 10, PRODUCT = 11, SUMS = 12 };

static size_t block_count(const ck_depthwise_shape *s) { return (s->channels + CK_LANES - 1) / CK_LANES; }

static size_t window_count(const ck_depthwise_shape *s) { return 3 * (s->out_width + 2) * s->channels; }

size_t ck_depthwise_between_parts(const ck_depthwise_shape *shape) {
    return shape->batch < 24 ? shape->batch : 24;
}

size_t ck_depthwise_between_scratch(const ck_depthwise_shape *shape, size_t threads) {
    const size_t own = window_count(shape) + block_count(shape) * SUMS * CK_LANES;
    return threads * own + ck_depthwise_between_parts(shape) * 10 * shape->channels;
}

/// The last block begins early enough to be whole; what it shares is computed twice.
CK_INLINE size_t first_channel(const ck_depthwise_shape *s, size_t block) {
    const size_t c = block * CK_LANES;
    return c + CK_LANES <= s->channels ? c : s->channels - CK_LANES;
}

/// What passes the derivative of a clamp: 1 strictly between the limits, else 0.
CK_INLINE void mask_lanes(ck_lanes *gradient, const ck_lanes *value, float low, float high) {
    *gradient = *value > low ? *gradient : (ck_lanes)0.0f;
    *gradient = *value < high ? *gradient : (ck_lanes)0.0f;
}

// ---- Rows of the gradient between the convolution and the normalisation behind it

CK_INLINE void differentiate_pixels(
    const arguments *a, size_t from, float *row, size_t c, const int count, const int masks,
    const ck_element type) {
    const size_t channels = a->shape.channels;
    ck_lanes behind[5];
    for (size_t k = 0; k < 5; k++) ck_get_lanes(&behind[k], a->behind, k * channels + c, CK_FLOAT32);
    CK_UNROLL for (int pixel = 0; pixel < count; pixel++) {
        const size_t at = (size_t)pixel * channels + c;
        ck_lanes distance, gradient;
        ck_get_lanes(&distance, a->output, from + at, type);
        ck_get_lanes(&gradient, a->gradient_out, from + at, type);
        distance -= behind[0];
        if (masks) {
            const ck_lanes value = distance * behind[1] + behind[2];
            mask_lanes(&gradient, &value, a->behind_low, a->behind_high);
        }
        const ck_lanes result = behind[1] * gradient + (distance * behind[3] + behind[4]);
        ck_put_lanes(row, at, &result, CK_FLOAT32);
    }
}

CK_INLINE void differentiate_row(
    const arguments *a, size_t from, float *row, const int masks, const ck_element type) {
    const ck_depthwise_shape *s = &a->shape;
    const size_t channels = s->channels, blocks = block_count(s);
    size_t x = 0;
    for (; x + 4 <= s->out_width; x += 4)
        for (size_t block = 0; block < blocks; block++)
            differentiate_pixels(
                a, from + x * channels, row + x * channels, first_channel(s, block), 4, masks, type);
    for (; x < s->out_width; x++)
        for (size_t block = 0; block < blocks; block++)
            differentiate_pixels(
                a, from + x * channels, row + x * channels, first_channel(s, block), 1, masks, type);
}

/// Adds a row's gradients to the sums for the bias.
CK_INLINE void add_bias(const ck_depthwise_shape *s, const float *row, float *sums) {
    for (size_t block = 0; block < block_count(s); block++) {
        float *held = sums + (block * SUMS + BIAS) * CK_LANES;
        ck_lanes sum, value;
        ck_get_lanes(&sum, held, 0, CK_FLOAT32);
        for (size_t x = 0; x < s->out_width; x++) {
            ck_get_lanes(&value, row, x * s->channels + first_channel(s, block), CK_FLOAT32);
            sum += value;
        }
        ck_put_lanes(held, 0, &sum, CK_FLOAT32);
    }
}

// ---- Rows of the input

/// `tile` pixels from column `x` on, which is even where the stride is 2. `rows` are those of the gradient
/// that meet each row of taps, from the zeros left of the first pixel on; NULL outside of the image.
CK_INLINE void meet_tile(
    const arguments *a, const float *const rows[3], const ck_lanes taps[TAPS], ck_lanes sums[SUMS],
    size_t start, size_t x, size_t c, const int stride, const int tile, const ck_element type) {
    const size_t channels = a->shape.channels;
    const int first = stride == 1 ? -1 : 0, columns = stride == 1 ? tile + 2 : tile / 2 + 1;
    ck_lanes mean, factor, offset, pixels[4], gradients[4];
    ck_get_lanes(&mean, a->norm.coefficients, c, CK_FLOAT32);
    ck_get_lanes(&factor, a->norm.coefficients, channels + c, CK_FLOAT32);
    ck_get_lanes(&offset, a->norm.coefficients, 2 * channels + c, CK_FLOAT32);
    CK_UNROLL for (int t = 0; t < tile; t++) {
        ck_get_lanes(&pixels[t], a->input, start + (x + (size_t)t) * channels + c, type);
        // ck_normalized's expression: what the forward pass saw.
        pixels[t] = (pixels[t] - mean) * factor + offset;
        ck_clamp_lanes(&pixels[t], a->norm.low, a->norm.high);
        gradients[t] = (ck_lanes)0.0f;
    }
    CK_UNROLL for (int ky = 0; ky < 3; ky++) {
        if (!rows[ky]) continue;
        // Behind the zeros: column x / stride + first of the gradient.
        const float *row = rows[ky] + (x / (size_t)stride + (size_t)(1 + first)) * channels + c;
        CK_UNROLL for (int j = 0; j < columns; j++) {
            ck_lanes value;
            ck_get_lanes(&value, row, (size_t)j * channels, CK_FLOAT32);
            CK_UNROLL for (int t = 0; t < tile; t++) {
                const int kx = t + 1 - stride * (j + first);
                if (kx < 0 || kx > 2) continue;
                gradients[t] += value * taps[3 * ky + kx];
                sums[3 * ky + kx] += value * pixels[t];
            }
        }
    }
    // All that is read before anything is written: a load behind a store waits where their addresses agree in
    // the last twelve bits, as they do in two large buffers.
    CK_UNROLL for (int t = 0; t < tile; t++) {
        ck_lanes distance, masked = gradients[t];
        ck_get_lanes(&distance, a->input, start + (x + (size_t)t) * channels + c, type);
        distance -= mean;
        mask_lanes(&masked, &pixels[t], a->norm.low, a->norm.high);
        sums[LEVEL] += masked;
        sums[PRODUCT] += masked * distance;
    }
    CK_UNROLL for (int t = 0; t < tile; t++)
        ck_put_lanes(a->gradient_in, start + (x + (size_t)t) * channels + c, &gradients[t], type);
}

/// Row `y` of an image, of which the first element is `start`; `held` is [blocks, SUMS, 16].
CK_INLINE void meet_row(
    const arguments *a, const float *window, size_t start, size_t y, float *held, const int stride,
    const ck_element type) {
    const ck_depthwise_shape *s = &a->shape;
    const size_t channels = s->channels, length = (s->out_width + 2) * channels;
    const float *rows[3];
    CK_UNROLL for (size_t ky = 0; ky < 3; ky++) {
        const size_t oy = (y + 1 - ky) / (size_t)stride;
        const int meets = y + 1 >= ky && oy * (size_t)stride == y + 1 - ky && oy < s->out_height;
        rows[ky] = meets ? window + oy % 3 * length : NULL;
    }
    for (size_t block = 0; block < block_count(s); block++, held += SUMS * CK_LANES) {
        const size_t c = first_channel(s, block);
        ck_lanes taps[TAPS], sums[SUMS];
        CK_UNROLL for (size_t k = 0; k < TAPS; k++)
            ck_get_lanes(&taps[k], a->weights, k * channels + c, CK_FLOAT32);
        CK_UNROLL for (size_t k = 0; k < SUMS; k++)
            ck_get_lanes(&sums[k], held, k * CK_LANES, CK_FLOAT32);
        size_t x = 0;
        for (; x + 4 <= s->width; x += 4) meet_tile(a, rows, taps, sums, start, x, c, stride, 4, type);
        if (x + 2 <= s->width) {
            meet_tile(a, rows, taps, sums, start, x, c, stride, 2, type);
            x += 2;
        }
        if (x < s->width) meet_tile(a, rows, taps, sums, start, x, c, stride, 1, type);
        CK_UNROLL for (size_t k = 0; k < SUMS; k++)
            ck_put_lanes(held, k * CK_LANES, &sums[k], CK_FLOAT32);
    }
}

// ---- Images, parts, the whole

/// Asks for a row before it is its turn: channels of one pixel after the other are no order in which the
/// processor would find out what comes next.
CK_INLINE void fetch_row(
    const void *elements, size_t from, size_t count, const int writes, const ck_element type) {
    const size_t size = type == CK_BFLOAT16 ? sizeof(uint16_t) : sizeof(float);
    const char *begin = (const char *)elements + from * size, *end = begin + count * size;
    for (; begin < end; begin += 64) {
        if (writes) __builtin_prefetch(begin, 1, 3);
        else __builtin_prefetch(begin, 0, 3);
    }
}

/// Adds an image's sums to its part's.
CK_INLINE void add_image(const arguments *a, const float *sums, float *totals, double *moments) {
    const size_t channels = a->shape.channels;
    for (size_t block = 0; block < block_count(&a->shape); block++) {
        const size_t c = first_channel(&a->shape, block), shared = block * CK_LANES - c;
        const float *held = sums + block * SUMS * CK_LANES;
        for (size_t lane = shared; lane < CK_LANES; lane++) {
            for (size_t k = 0; k <= BIAS; k++) totals[k * channels + c + lane] += held[k * CK_LANES + lane];
            moments[c + lane] += (double)held[LEVEL * CK_LANES + lane];
            moments[channels + c + lane] += (double)held[PRODUCT * CK_LANES + lane];
        }
    }
}

CK_INLINE void run_part(
    const arguments *a, size_t part, float *window, const int stride, const int masks,
    const ck_element type) {
    const ck_depthwise_shape *s = &a->shape;
    const size_t channels = s->channels, parts = ck_depthwise_between_parts(s);
    const size_t length = (s->out_width + 2) * channels, sum_count = block_count(s) * SUMS * CK_LANES;
    const size_t width = s->width * channels, out_width = s->out_width * channels;
    float *sums = window + window_count(s);
    float *totals = a->totals + part * 10 * channels;
    double *moments = a->moments + part * 2 * channels;
    for (size_t i = 0; i < 10 * channels; i++) totals[i] = 0;
    for (size_t i = 0; i < 2 * channels; i++) moments[i] = 0;
    for (size_t n = s->batch * part / parts; n < s->batch * (part + 1) / parts; n++) {
        for (size_t i = 0; i < sum_count; i++) sums[i] = 0;
        size_t ready = 0;
        for (size_t y = 0; y < s->height; y++) {
            const size_t last = (y + 1) / (size_t)stride + 1;
            for (const size_t stop = last < s->out_height ? last : s->out_height; ready < stop; ready++) {
                float *row = window + ready % 3 * length + channels;
                const size_t from = (n * s->out_height + ready) * out_width;
                fetch_row(a->output, from + out_width, out_width, 0, type);
                fetch_row(a->gradient_out, from + out_width, out_width, 0, type);
                differentiate_row(a, from, row, masks, type);
                if (a->gradient_bias) add_bias(s, row, sums);
            }
            const size_t start = (n * s->height + y) * width;
            fetch_row(a->input, start + width, width, 0, type);
            fetch_row(a->gradient_in, start + width, width, 1, type);
            meet_row(a, window, start, y, sums, stride, type);
        }
        add_image(a, sums, totals, moments);
    }
}

CK_INLINE void choose_part(
    const arguments *a, size_t part, float *window, const int masks, const ck_element type) {
    if (a->shape.stride == 1) run_part(a, part, window, 1, masks, type);
    else run_part(a, part, window, 2, masks, type);
}

CK_CLONES
static void one_part(const arguments *a, size_t part, float *window) {
    const int masks = a->behind_low > -INFINITY;
    if (a->shape.element == CK_BFLOAT16) {
        if (masks) choose_part(a, part, window, 1, CK_BFLOAT16);
        else choose_part(a, part, window, 0, CK_BFLOAT16);
    } else {
        if (masks) choose_part(a, part, window, 1, CK_FLOAT32);
        else choose_part(a, part, window, 0, CK_FLOAT32);
    }
}

/// From the last part to the first: what the pass before has read last is in the caches still.
static void one_thread(void *pointer, int thread, int threads) {
    const arguments *a = pointer;
    const ck_depthwise_shape *s = &a->shape;
    const size_t parts = ck_depthwise_between_parts(s), length = (s->out_width + 2) * s->channels;
    const size_t begin = parts * (size_t)thread / (size_t)threads;
    const size_t end = parts * ((size_t)thread + 1) / (size_t)threads;
    float *window = a->windows + (size_t)thread * (window_count(s) + block_count(s) * SUMS * CK_LANES);
    for (size_t row = 0; row < 3; row++)
        for (size_t c = 0; c < s->channels; c++)
            window[row * length + c] = window[(row + 1) * length - s->channels + c] = 0;
    for (size_t part = end; part > begin; part--) one_part(a, part - 1, window);
}

void ck_depthwise_between(const ck_depthwise_between_arguments *a) {
    const size_t channels = a->shape.channels, parts = ck_depthwise_between_parts(&a->shape);
    ck_team_run(one_thread, (void *)a);
    for (size_t part = 1; part < parts; part++)
        for (size_t i = 0; i < 10 * channels; i++) a->totals[i] += a->totals[part * 10 * channels + i];
    for (size_t i = 0; i < 9 * channels; i++) a->gradient_weights[i] = a->totals[i];
    if (!a->gradient_bias) return;
    for (size_t i = 0; i < channels; i++) a->gradient_bias[i] = a->totals[9 * channels + i];
}
