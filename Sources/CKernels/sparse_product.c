// Products with weights that are mostly zero: for each one that is kept, a sum goes on by as many inputs as
// fit into vectors (Park et al. 2017, arXiv:1608.01409, for convolutions).
//
// A thread copies the inputs of sixteen samples, or of one, so that the inputs of a weight lie side by side
// for all lanes, and goes through all or some of the outputs. Nothing is shared, so that nobody waits.
#include "activation.h"
#include "sparse.h"

enum {
    /// Vectors whose sums are computed at once.
    AT_ONCE = 4,
    /// Linear layers: panels of samples that a thread copies at once.
    PANELS_MAX = 4,
};

#define ALL _Pragma("clang loop unroll(full)")

/// What the threads share the work by.
typedef struct {
    /// Units of inputs that are copied at once, and the panels or samples in each.
    size_t sheets, panels_each;
    /// Panels or samples altogether.
    size_t panels;
    /// Vectors of one panel, and floats of its copied inputs.
    size_t vectors, image;
    /// Floats of a thread's scratch.
    size_t scratch;
} plan;

static plan plan_of(const ck_sparse_shape *s, size_t threads) {
    plan p = {.panels_each = 1, .vectors = 1, .image = ck_sparse_image(s)};
    if (s->lanes == CK_SPARSE_PIXELS) {
        // The lines of an image follow each other; what lies between two lines of the output is not stored.
        const size_t span = (s->out_height - 1) * ck_sparse_line(s) + s->out_width;
        p.panels = s->batch;
        p.vectors = (span + CK_LANES - 1) / CK_LANES;
        p.image = ck_round_up(p.image, CK_LANES) + CK_LANES;
    } else if (s->lanes == CK_SPARSE_SAMPLES) {
        const size_t pixels = s->out_height * s->out_width;
        p.panels = (s->batch + CK_LANES - 1) / CK_LANES;
        p.vectors = pixels;
        p.image *= CK_LANES;
        const size_t share = (p.panels + threads - 1) / threads;
        if (pixels == 1) p.panels_each = share < PANELS_MAX ? share : PANELS_MAX;
    } else {
        p.panels = s->batch;
        p.image = 0;
    }
    p.sheets = (p.panels + p.panels_each - 1) / p.panels_each;
    p.scratch = p.image * p.panels_each;
    return p;
}

size_t ck_sparse_scratch_count(const ck_sparse_shape *s, size_t threads) {
    return plan_of(s, threads).scratch * threads;
}

/// Copies samples of a line of `count` elements so that those of an element lie side by side.
CK_INLINE void copy_samples(
    const float *from, size_t stride, size_t samples, size_t count, float *restrict to) {
    for (size_t i = 0; i < count; i += CK_LANES) {
        const size_t some = count - i < CK_LANES ? count - i : CK_LANES;
        ck_lanes row[CK_LANES];
        ALL for (size_t n = 0; n < CK_LANES; n++) {
            row[n] = ck_splat(0);
            if (n < samples) row[n] = ck_read_some(from, n * stride + i, some, CK_FLOAT32);
        }
        ck_transpose_lanes(row);
        if (some == CK_LANES) {
            ALL for (size_t n = 0; n < CK_LANES; n++)
                ck_write(to, (i + n) * CK_LANES, row[n], CK_FLOAT32);
        } else {
            for (size_t n = 0; n < some; n++) ck_write(to, (i + n) * CK_LANES, row[n], CK_FLOAT32);
        }
    }
}

/// Copies a panel of sixteen samples, [rows, line, channels, samples] with padding.
CK_INLINE void copy_panel(const ck_sparse_arguments *a, size_t panel, float *to) {
    const ck_sparse_shape *s = &a->shape;
    const size_t first = panel * CK_LANES, left = s->batch - first;
    const size_t sample = s->height * s->width * s->channels, wide = s->width * s->channels;
    const size_t line = ck_sparse_line(s) * s->channels;
    if (s->padding_height + s->padding_width)
        __builtin_memset(to, 0, ck_sparse_image(s) * CK_LANES * sizeof(float));
    for (size_t y = 0; y < s->height; y++)
        copy_samples(a->input + first * sample + y * wide, sample, left < CK_LANES ? left : CK_LANES, wide,
            to + ((y + s->padding_height) * line + s->padding_width * s->channels) * CK_LANES);
}

/// Copies a sample, [channels, rows, line] with padding.
CK_INLINE void copy_planes(const ck_sparse_arguments *a, size_t n, const plan *p, float *restrict to) {
    const ck_sparse_shape *s = &a->shape;
    const float *from = a->input + n * s->height * s->width * s->channels;
    const size_t line = ck_sparse_line(s), plane = ck_sparse_rows(s) * line;
    __builtin_memset(to, 0, p->image * sizeof(float));
    for (size_t y = 0; y < s->height; y++)
        for (size_t x = 0; x < s->width; x++) {
            float *pixel = to + (y + s->padding_height) * line + x + s->padding_width;
            for (size_t c = 0; c < s->channels; c++)
                pixel[c * plane] = from[(y * s->width + x) * s->channels + c];
        }
}

/// The sums of one group for some vectors, each in two halves: of the columns at even and at odd places.
CK_INLINE void sum_group(
    const ck_sparse_weights *w, size_t group, const float *const inputs[AT_ONCE],
    ck_lanes sums[][AT_ONCE], const int vectors, const int block) {
    const size_t end = w->starts[group + 1];
    size_t i = w->starts[group];
    ck_lanes halves[4][2][AT_ONCE];
    ALL for (int r = 0; r < block; r++)
        ALL for (int v = 0; v < vectors; v++) halves[r][0][v] = halves[r][1][v] = ck_splat(0);
#define CK_COLUMN(place, half)                                                                               \
    {                                                                                                        \
        const size_t offset = w->offsets[place];                                                             \
        ALL for (int v = 0; v < vectors; v++) {                                                              \
            const ck_lanes x = ck_read(inputs[v], offset, CK_FLOAT32);                                       \
            ALL for (int r = 0; r < block; r++)                                                              \
                halves[r][half][v] += ck_splat(w->values[(place) * (size_t)block + (size_t)r]) * x;          \
        }                                                                                                    \
    }
    if (block == 1) {
        for (; i + 1 < end; i += 2) {
            CK_COLUMN(i, 0)
            CK_COLUMN(i + 1, 1)
        }
        if (i < end) CK_COLUMN(i, 0)
    } else {
        // Four rows are sums enough at once.
        for (; i < end; i++) CK_COLUMN(i, 0)
    }
#undef CK_COLUMN
    ALL for (int r = 0; r < block; r++)
        ALL for (int v = 0; v < vectors; v++)
            sums[r][v] = block == 1 ? halves[r][0][v] + halves[r][1][v] : halves[r][0][v];
}

/// Applies the activation to sums of sixteen outputs.
CK_INLINE void activate(const ck_sparse_arguments *a, ck_lanes rows[CK_LANES]) {
    float *all = (float *)rows;
    const float slope = a->slope;
#define ONE_KIND(kind_)                                                                                      \
    case kind_:                                                                                              \
        CK_INDEPENDENT                                                                                       \
        for (size_t i = 0; i < CK_LANES * CK_LANES; i++) all[i] = ck_activate(all[i], kind_, slope);         \
        break;
    switch (a->kind) {
        ONE_KIND(CK_ACTIVATION_RELU)
        ONE_KIND(CK_ACTIVATION_RELU6)
        ONE_KIND(CK_ACTIVATION_LEAKY_RELU)
        ONE_KIND(CK_ACTIVATION_GELU_ERF)
        ONE_KIND(CK_ACTIVATION_GELU_TANH)
        ONE_KIND(CK_ACTIVATION_SILU)
        ONE_KIND(CK_ACTIVATION_SIGMOID)
        ONE_KIND(CK_ACTIVATION_TANH)
        ONE_KIND(CK_ACTIVATION_HARD_SWISH)
    }
#undef ONE_KIND
}

/// Where the lanes of a vector are stored; NULL for those that are not.
CK_INLINE void places_of(
    const ck_sparse_arguments *a, size_t panel, size_t vector, float *places[CK_LANES]) {
    const ck_sparse_shape *s = &a->shape;
    const size_t pixels = s->out_height * s->out_width;
    for (size_t lane = 0; lane < CK_LANES; lane++) {
        size_t sample = panel, pixel = vector;
        int isThere = 1;
        if (s->lanes == CK_SPARSE_SAMPLES) {
            sample = panel * CK_LANES + lane;
            isThere = sample < s->batch;
        } else {
            const size_t place = vector * CK_LANES + lane, line = ck_sparse_line(s);
            pixel = place / line * s->out_width + place % line;
            isThere = place / line < s->out_height && place % line < s->out_width;
        }
        places[lane] = isThere ? a->output + (sample * pixels + pixel) * s->out_channels : NULL;
    }
}

/// Computes the outputs of groups `begin` to `end` for some vectors, sixteen at a time.
CK_INLINE void multiply_some(
    const ck_sparse_arguments *a, const ck_sparse_weights *w, const float *const inputs[AT_ONCE],
    float *const places[AT_ONCE][CK_LANES], size_t begin, size_t end, const int vectors, const int block) {
    const size_t outputs = a->shape.out_channels, step = CK_LANES / (size_t)block;
    for (size_t first = begin; first < end; first += step) {
        const size_t last = end - first < step ? end : first + step;
        const size_t row = first * (size_t)block, left = outputs - row;
        const size_t room = (last - first) * (size_t)block, count = room < left ? room : left;
        ck_lanes rows[AT_ONCE][CK_LANES];
        for (size_t group = first; group < last; group++) {
            ck_lanes sums[4][AT_ONCE];
            sum_group(w, group, inputs, sums, vectors, block);
            ALL for (int r = 0; r < block; r++) {
                const size_t place = (group - first) * (size_t)block + (size_t)r;
                const float bias = a->bias && place < count ? a->bias[row + place] : 0;
                ALL for (int v = 0; v < vectors; v++) rows[v][place] = sums[r][v] + bias;
            }
        }
        for (size_t i = (last - first) * (size_t)block; i < CK_LANES; i++)
            ALL for (int v = 0; v < vectors; v++) rows[v][i] = ck_splat(0);
        ALL for (int v = 0; v < vectors; v++) {
            activate(a, rows[v]);
            ck_transpose_lanes(rows[v]);
            for (size_t lane = 0; lane < CK_LANES; lane++)
                if (places[v][lane]) ck_write_some(places[v][lane], row, count, rows[v][lane], CK_FLOAT32);
        }
    }
}

/// Computes the outputs of groups `begin` to `end` for all inputs of a sheet.
CK_INLINE void multiply_sheet(
    const ck_sparse_arguments *a, const plan *p, size_t sheet, size_t begin, size_t end, float *scratch,
    const int block) {
    const ck_sparse_shape *s = &a->shape;
    const ck_sparse_weights w = ck_sparse_parts(s, a->packed);
    const size_t first = sheet * p->panels_each, left = p->panels - first;
    const size_t panels = left < p->panels_each ? left : p->panels_each;
    for (size_t i = 0; i < panels; i++) {
        if (s->lanes == CK_SPARSE_SAMPLES) copy_panel(a, first + i, scratch + i * p->image);
        else copy_planes(a, first + i, p, scratch);
    }
    const size_t vectors = panels * p->vectors;
    for (size_t vector = 0; vector < vectors; vector += AT_ONCE) {
        const float *inputs[AT_ONCE];
        float *places[AT_ONCE][CK_LANES];
        const size_t some = vectors - vector < AT_ONCE ? vectors - vector : AT_ONCE;
        for (size_t v = 0; v < some; v++) {
            const size_t panel = (vector + v) / p->vectors, place = (vector + v) % p->vectors;
            size_t base = place * CK_LANES;
            if (s->lanes == CK_SPARSE_SAMPLES) {
                const size_t y = place / s->out_width * s->stride_height;
                const size_t x = place % s->out_width * s->stride_width;
                base = (y * ck_sparse_line(s) + x) * s->channels * CK_LANES;
            }
            inputs[v] = scratch + panel * p->image + base;
            places_of(a, first + panel, place, places[v]);
        }
        switch (some) {
        case 1: multiply_some(a, &w, inputs, places, begin, end, 1, block); break;
        case 2: multiply_some(a, &w, inputs, places, begin, end, 2, block); break;
        case 3: multiply_some(a, &w, inputs, places, begin, end, 3, block); break;
        default: multiply_some(a, &w, inputs, places, begin, end, 4, block); break;
        }
    }
}

/// The sum of one output of one sample, in eight parts: faster here than loads by a vector of offsets.
CK_INLINE float sum_output(const ck_sparse_weights *w, size_t group, const float *input) {
    size_t i = w->starts[group];
    const size_t end = w->starts[group + 1];
    float sums[8] = {0};
    for (; i + 8 <= end; i += 8)
        ALL for (int k = 0; k < 8; k++)
            sums[k] += w->values[i + (size_t)k] * input[w->offsets[i + (size_t)k]];
    ALL for (int k = 0; k < 7; k++)
        if (i + (size_t)k < end) sums[k] += w->values[i + (size_t)k] * input[w->offsets[i + (size_t)k]];
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

typedef float four __attribute__((ext_vector_type(4)));
typedef float unaligned_four __attribute__((ext_vector_type(4), aligned(4)));

/// The sums of four outputs of one sample.
CK_INLINE four sum_outputs(const ck_sparse_weights *w, size_t group, const float *input) {
    size_t i = w->starts[group];
    const size_t end = w->starts[group + 1];
    four sums[4] = {0};
    for (; i + 4 <= end; i += 4)
        ALL for (int k = 0; k < 4; k++)
            sums[k] += *(const unaligned_four *)(w->values + (i + (size_t)k) * 4)
                * (four)input[w->offsets[i + (size_t)k]];
    for (; i < end; i++)
        sums[0] += *(const unaligned_four *)(w->values + i * 4) * (four)input[w->offsets[i]];
    return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

/// Computes the outputs of groups `begin` to `end` for one sample.
CK_INLINE void multiply_sample(
    const ck_sparse_arguments *a, size_t n, size_t begin, size_t end, const int block) {
    const ck_sparse_shape *s = &a->shape;
    const ck_sparse_weights w = ck_sparse_parts(s, a->packed);
    const float *input = a->input + n * s->channels;
    float *output = a->output + n * s->out_channels;
    const size_t step = CK_LANES / (size_t)block;
    for (size_t first = begin; first < end; first += step) {
        const size_t last = end - first < step ? end : first + step, row = first * (size_t)block;
        const size_t room = (last - first) * (size_t)block, left = s->out_channels - row;
        const size_t count = room < left ? room : left;
        ck_lanes rows[CK_LANES] = {0};
        float *sums = (float *)rows;
        for (size_t group = first; group < last; group++) {
            if (block == 1) sums[group - first] = sum_output(&w, group, input);
            else *(unaligned_four *)(sums + (group - first) * 4) = sum_outputs(&w, group, input);
        }
        if (a->bias) for (size_t i = 0; i < count; i++) sums[i] += a->bias[row + i];
        activate(a, rows);
        __builtin_memcpy(output + row, sums, count * sizeof(float));
    }
}

/// The first group of a part of all, such that all parts have about as many columns.
CK_INLINE size_t part_of(const ck_sparse_shape *s, const uint32_t *starts, size_t part, size_t parts) {
    const size_t groups = ck_sparse_groups(s), step = CK_LANES / s->block;
    if (part == parts) return groups;
    // A group costs something beside its columns.
    const size_t each = 4, wanted = (starts[groups] + each * groups) * part / parts;
    size_t low = 0, high = groups;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (starts[middle] + each * middle < wanted) low = middle + 1;
        else high = middle;
    }
    const size_t whole = (low + step / 2) / step * step;
    return whole < groups ? whole : groups;
}

CK_CLONES
static void multiply(const void *pointer, size_t sheet, size_t begin, size_t end, float *scratch) {
    const ck_sparse_arguments *a = pointer;
    const plan p = plan_of(&a->shape, a->threads);
    if (a->shape.lanes == CK_SPARSE_WEIGHTS) {
        if (a->shape.block == 1) multiply_sample(a, sheet, begin, end, 1);
        else multiply_sample(a, sheet, begin, end, 4);
    } else {
        if (a->shape.block == 1) multiply_sheet(a, &p, sheet, begin, end, scratch, 1);
        else multiply_sheet(a, &p, sheet, begin, end, scratch, 4);
    }
}

/// A thread's share.
static void run(void *pointer, int thread, int threads) {
    const ck_sparse_arguments *a = pointer;
    const plan p = plan_of(&a->shape, a->threads);
    const uint32_t *starts = ck_sparse_parts(&a->shape, a->packed).starts;
    if ((size_t)threads > a->threads) threads = (int)a->threads;
    if (thread >= threads) return;
    float *scratch = a->scratch + (size_t)thread * p.scratch;
    const size_t crew = (size_t)threads / p.sheets;
    // Many sheets are shared out whole; few are worked on by several threads each, which share the outputs.
    const size_t parts = crew > 1 ? crew : 1;
    const size_t teams = (size_t)threads / parts, team = (size_t)thread / parts;
    if (team >= teams) return;
    const size_t part = (size_t)thread % parts;
    const size_t begin = part_of(&a->shape, starts, part, parts);
    const size_t end = part_of(&a->shape, starts, part + 1, parts);
    if (begin == end) return;
    const size_t last = p.sheets * (team + 1) / teams;
    for (size_t sheet = p.sheets * team / teams; sheet < last; sheet++)
        multiply(a, sheet, begin, end, scratch);
}

void ck_sparse_product(const ck_sparse_arguments *a) {
    const ck_sparse_shape *s = &a->shape;
    const uint32_t count = ck_sparse_parts(s, a->packed).starts[ck_sparse_groups(s)];
    const size_t work = s->batch * s->out_height * s->out_width * count * s->block;
    // A vector's products cost as much as an element of other kernels does, or more.
    const size_t weight = s->lanes == CK_SPARSE_WEIGHTS ? 1 : CK_LANES;
    if (work / weight < CK_SERIAL_COUNT / 8 || a->threads == 1) run((void *)(uintptr_t)a, 0, 1);
    else ck_team_run(run, (void *)(uintptr_t)a);
}
