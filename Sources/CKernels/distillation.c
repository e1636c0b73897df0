#include "rows.h"
#include "vector_math.h"

/// One row of a student's outputs z and a teacher's v, and what the passes over it have found.
typedef struct {
    const ck_distillation_arguments *a;
    size_t start, width;
    /// -1 where targets are given.
    int32_t label;
    /// The largest output, the sum of exp(z - top), and what the targets add up to.
    float top, sum, mass;
    /// The same of the softened outputs that the soft loss compares: largest, log of the sum, its inverse.
    float soft_top, soft_log, soft_inverse;
    float teacher_top, teacher_log, teacher_inverse;
    /// What the reverse divergences' slopes are relative to.
    float mean;
    /// Of the decoupled loss: how much more likely the student finds the label than the teacher does.
    float excess;
} distilled_row;

CK_INLINE ck_int_lanes places(size_t c) {
    const ck_int_lanes lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return lane + (int32_t)c;
}

CK_INLINE ck_lanes student_lanes(const distilled_row *r, size_t c) {
    ck_lanes z;
    ck_load_lanes(&z, r->a->hard.outputs, r->start + c, r->width - c, -INFINITY, r->a->hard.element);
    return z;
}

CK_INLINE ck_lanes teacher_lanes(const distilled_row *r, size_t c) {
    ck_lanes v;
    ck_load_lanes(&v, r->a->teacher, r->start + c, r->width - c, -INFINITY, r->a->teacher_element);
    return v;
}

/// The decoupled loss looks at the label apart from the other classes.
CK_INLINE ck_lanes without_label(const distilled_row *r, ck_lanes z, size_t c, const ck_soft_loss soft) {
    if (soft != CK_SOFT_DECOUPLED) return z;
    return places(c) == (ck_int_lanes)r->label ? ck_splat(-INFINITY) : z;
}

CK_INLINE ck_lanes target_lanes(const distilled_row *r, size_t c) {
    const ck_loss_arguments *hard = &r->a->hard;
    ck_lanes t;
    if (hard->labels) t = places(c) == (ck_int_lanes)r->label ? ck_splat(1) : ck_splat(0);
    else ck_load_lanes(&t, hard->targets, r->start + c, r->width - c, 0, CK_FLOAT32);
    if (hard->label_smoothing > 0) {
        t = t * (1 - hard->label_smoothing) + hard->label_smoothing / (float)r->width;
        ck_clear_lanes(&t, r->width - c);
    }
    return t;
}

/// The first place of the maximum; -1 where nothing equals it.
CK_INLINE int32_t first_place(
    const void *elements, size_t start, size_t width, float maximum, const ck_element type) {
    ck_int_lanes first = INT32_MAX;
    for (size_t c = 0; c < width; c += CK_LANES) {
        ck_lanes z;
        ck_load_lanes(&z, elements, start + c, width - c, NAN, type);
        const ck_int_lanes place = places(c);
        first = ((z == maximum) & (place < first)) ? place : first;
    }
    const int32_t smallest = __builtin_reduce_min(first);
    return smallest == INT32_MAX ? -1 : smallest;
}

/// The largest outputs that the soft loss looks at.
CK_INLINE void find_tops(distilled_row *r, const ck_soft_loss soft) {
    ck_lanes largest = ck_splat(-INFINITY), teacher = ck_splat(-INFINITY);
    for (size_t c = 0; c < r->width; c += CK_LANES) {
        const ck_lanes z = without_label(r, student_lanes(r, c), c, soft);
        const ck_lanes v = without_label(r, teacher_lanes(r, c), c, soft);
        largest = z > largest ? z : largest;
        teacher = v > teacher ? v : teacher;
    }
    r->soft_top = r->teacher_top = -INFINITY;
    for (int lane = 0; lane < CK_LANES; lane++) {
        r->soft_top = largest[lane] > r->soft_top ? largest[lane] : r->soft_top;
        r->teacher_top = teacher[lane] > r->teacher_top ? teacher[lane] : r->teacher_top;
    }
}

/// First pass: the sums that softmaxes are divided by, and the hard loss, which it returns.
CK_INLINE float sum_row(distilled_row *r, const ck_soft_loss soft) {
    const float inverse = 1 / r->a->temperature;
    ck_lanes sums = 0, products = 0, masses = 0, softs = 0, teachers = 0;
    for (size_t c = 0; c < r->width; c += CK_LANES) {
        const ck_lanes z = student_lanes(r, c), t = target_lanes(r, c), shifted = z - r->top;
        // A class that no target touches has no part, even where its output is -inf.
        products += t == 0.0f ? ck_splat(0) : t * shifted;
        masses += t;
        sums += ck_exp_values(shifted);
        if (soft == CK_SOFT_SQUARED_ERROR) continue;
        const ck_lanes v = without_label(r, teacher_lanes(r, c), c, soft);
        softs += ck_exp_values((without_label(r, z, c, soft) - r->soft_top) * inverse);
        teachers += ck_exp_values((v - r->teacher_top) * inverse);
    }
    r->sum = ck_sum_values(sums);
    r->mass = r->a->hard.labels ? 1 : ck_sum_values(masses);
    if (soft != CK_SOFT_SQUARED_ERROR) {
        const float soft_sum = ck_sum_values(softs), teacher_sum = ck_sum_values(teachers);
        r->soft_log = logf(soft_sum);
        r->soft_inverse = 1 / soft_sum;
        r->teacher_log = logf(teacher_sum);
        r->teacher_inverse = 1 / teacher_sum;
    }
    return r->mass * logf(r->sum) - ck_sum_values(products);
}

/// p (e^d - 1 - d) where q = p e^d: what each class adds to KL(p || q), as the p and the q both add up to 1.
///
/// Unlike p log(p / q) it is never negative and of second order, so that T^2 does not bring up the rounding of
/// first-order terms which cancel.
CK_INLINE ck_lanes divergence(ck_lanes p, ck_lanes q, ck_lanes d) {
    // Taylor's series; the next term is below 2.6e-8 of 1/2.
    ck_lanes near = ck_splat(1.0f / 3628800);
    near = near * d + 1.0f / 362880;
    near = near * d + 1.0f / 40320;
    near = near * d + 1.0f / 5040;
    near = near * d + 1.0f / 720;
    near = near * d + 1.0f / 120;
    near = near * d + 1.0f / 24;
    near = near * d + 1.0f / 6;
    near = near * d + 0.5f;
    // 0 * inf and inf - inf stand where nothing is to be added.
    const ck_lanes far = q - p - (p > 0.0f ? p * d : ck_splat(0));
    return __builtin_elementwise_abs(d) < 1.0f ? p * d * d * near : far;
}

typedef struct { ck_lanes value, slope, mean; } soft_part;

/// What sixteen classes add to the soft loss / T^2, and its slope by z; the squared error is complete but for
/// the division by the width.
CK_INLINE soft_part soften(const distilled_row *r, ck_lanes z, size_t c, const ck_soft_loss soft) {
    const ck_distillation_arguments *a = r->a;
    soft_part part = {0, 0, 0};
    if (soft == CK_SOFT_SQUARED_ERROR) {
        ck_lanes difference = z - teacher_lanes(r, c);
        ck_clear_lanes(&difference, r->width - c);
        part.value = difference * difference;
        part.slope = difference * (2 / (float)r->width);
        return part;
    }
    const float temperature = a->temperature, inverse = 1 / temperature;
    const ck_lanes v = without_label(r, teacher_lanes(r, c), c, soft);
    const ck_lanes scaled = (without_label(r, z, c, soft) - r->soft_top) * inverse;
    const ck_lanes teacher = (v - r->teacher_top) * inverse;
    const ck_lanes q = ck_exp_values(scaled) * r->soft_inverse;
    const ck_lanes p = ck_exp_values(teacher) * r->teacher_inverse;
    const ck_lanes log_q = scaled - r->soft_log, log_p = teacher - r->teacher_log, d = log_q - log_p;
    switch (soft) {
    case CK_SOFT_CROSS_ENTROPY:
        part.value = p == 0.0f ? ck_splat(0) : -p * log_q;
        part.slope = temperature * (q - p);
        break;
    case CK_SOFT_REVERSE_KL:
        part.value = part.mean = divergence(q, p, -d);
        part.slope = q > 0.0f ? temperature * q * (d - r->mean) : ck_splat(0);
        break;
    case CK_SOFT_JENSEN_SHANNON: {
        const float share = a->share, rest = 1 - share;
        const ck_lanes mixed = share * p + rest * q;
        const ck_lanes log_mixed = ck_log_values(mixed);
        part.mean = divergence(q, mixed, log_mixed - log_q);
        part.value = share * divergence(p, mixed, log_mixed - log_p) + rest * part.mean;
        part.slope = q > 0.0f ? temperature * rest * q * (log_q - log_mixed - r->mean) : ck_splat(0);
        break;
    }
    case CK_SOFT_DECOUPLED: {
        const float target = a->target_weight * r->excess;
        part.value = a->others_weight * divergence(p, q, d);
        part.slope = temperature * (a->others_weight * (q - p) - target * q);
        part.slope = places(c) == (ck_int_lanes)r->label ? ck_splat(temperature * target) : part.slope;
        break;
    }
    default:
        part.value = divergence(p, q, d);
        part.slope = temperature * (q - p);
        break;
    }
    return part;
}

/// Second pass: the sum over the classes, and where `writes` is set the gradient.
CK_INLINE float soft_pass(distilled_row *r, const ck_soft_loss soft, const int writes) {
    const ck_distillation_arguments *a = r->a;
    const float scale = writes ? a->hard.state->inverse_count : 0;
    const float hard_weight = a->alpha * scale;
    const float soft_weight = writes ? (1 - a->alpha) * a->hard.state->soft_weight * scale : 0;
    const float factor = r->mass / r->sum;
    ck_lanes values = 0, means = 0;
    for (size_t c = 0; c < r->width; c += CK_LANES) {
        const ck_lanes z = student_lanes(r, c);
        const soft_part part = soften(r, z, c, soft);
        values += part.value;
        means += part.mean;
        if (!writes) continue;
        const ck_lanes slope = ck_exp_values(z - r->top) * factor - target_lanes(r, c);
        ck_write_some(a->hard.gradient, r->start + c, r->width - c,
            hard_weight * slope + soft_weight * part.slope, a->hard.element);
    }
    if (!writes) r->mean = ck_sum_values(means);
    return ck_sum_values(values);
}

CK_INLINE double soft_plus(double x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }

/// KL of label or not: the teacher's against the student's, both from their log odds.
CK_INLINE double label_divergence(distilled_row *r) {
    const ck_distillation_arguments *a = r->a;
    const size_t place = r->start + (size_t)r->label;
    const double inverse = 1 / (double)a->temperature;
    const double z = ck_load(a->hard.outputs, place, a->hard.element);
    const double v = ck_load(a->teacher, place, a->teacher_element);
    const double student = (z - r->soft_top) * inverse - r->soft_log;
    const double teacher = (v - r->teacher_top) * inverse - r->teacher_log;
    const double p = 1 / (1 + exp(-teacher)), rest = 1 / (1 + exp(teacher));
    r->excess = (float)(1 / (1 + exp(-student)) - p);
    return p * (soft_plus(-student) - soft_plus(-teacher)) + rest * (soft_plus(student) - soft_plus(teacher));
}

CK_INLINE float soft_loss(distilled_row *r, const ck_soft_loss soft) {
    const ck_distillation_arguments *a = r->a;
    const float square = a->temperature * a->temperature;
    const int writes = a->hard.gradient != NULL;
    if (soft == CK_SOFT_SQUARED_ERROR)
        return (writes ? soft_pass(r, soft, 1) : soft_pass(r, soft, 0)) / (float)r->width;
    if (soft == CK_SOFT_REVERSE_KL || soft == CK_SOFT_JENSEN_SHANNON) {
        // Their slopes need the divergence itself.
        const float value = square * soft_pass(r, soft, 0);
        if (writes) (void)soft_pass(r, soft, 1);
        return value;
    }
    const float label = soft == CK_SOFT_DECOUPLED ? a->target_weight * (float)label_divergence(r) : 0;
    return square * (label + (writes ? soft_pass(r, soft, 1) : soft_pass(r, soft, 0)));
}

CK_INLINE void distill_row(const ck_distillation_arguments *a, size_t row, ck_soft_loss soft) {
    const ck_loss_arguments *hard = &a->hard;
    if (ck_skips_row(hard, row, hard->element)) {
        a->row_soft[row] = 0;
        return;
    }
    distilled_row r = {.a = a, .start = row * hard->width, .width = hard->width};
    r.label = hard->labels ? hard->labels[row] : -1;
    r.top = r.soft_top = ck_row_maximum(hard->outputs, r.start, r.width, hard->element);
    r.teacher_top = ck_row_maximum(a->teacher, r.start, r.width, a->teacher_element);
    const int32_t found = first_place(hard->outputs, r.start, r.width, r.top, hard->element);
    const int32_t taught = first_place(a->teacher, r.start, r.width, r.teacher_top, a->teacher_element);
    const int32_t wanted =
        hard->labels ? r.label : (int32_t)ck_first_largest(hard->targets + r.start, r.width);
    hard->row_correct[row] = (found == wanted) | (found == taught && found >= 0) << 1;
    if (soft == CK_SOFT_DECOUPLED) find_tops(&r, soft);
    hard->row_loss[row] = sum_row(&r, soft);
    a->row_soft[row] = soft_loss(&r, soft);
}

#define SOFT(name, soft)                                                      \
    CK_CLONES                                                                 \
    static void name(const void *pointer, size_t begin, size_t end) {         \
        const ck_distillation_arguments *a = pointer;                         \
        for (size_t row = begin; row < end; row++) distill_row(a, row, soft); \
    }

SOFT(kl_rows, CK_SOFT_KL)
SOFT(cross_entropy_rows, CK_SOFT_CROSS_ENTROPY)
SOFT(squared_error_rows, CK_SOFT_SQUARED_ERROR)
SOFT(decoupled_rows, CK_SOFT_DECOUPLED)
SOFT(reverse_kl_rows, CK_SOFT_REVERSE_KL)
SOFT(jensen_shannon_rows, CK_SOFT_JENSEN_SHANNON)

void ck_distillation(const ck_distillation_arguments *a) {
    const ck_range_body bodies[] = {
        kl_rows, cross_entropy_rows, squared_error_rows, decoupled_rows, reverse_kl_rows, jensen_shannon_rows,
    };
    // Without other classes nothing can be told apart: like the divergence of a single class it is 0.
    const int isAlone = a->soft == CK_SOFT_DECOUPLED && a->hard.width == 1;
    // An element costs about eight times what an element-wise kernel's does.
    ck_for_units(bodies[isAlone ? CK_SOFT_KL : a->soft], a, a->hard.rows, a->hard.width * 8);
    // In the rows' order, so that the sums do not depend on the number of threads.
    ck_loss_result sums = {.rows = (int64_t)a->hard.rows};
    for (size_t row = 0; row < a->hard.rows; row++) {
        const int32_t marks = a->hard.row_correct[row];
        sums.hard_sum += a->hard.row_loss[row];
        sums.soft_sum += a->row_soft[row];
        sums.counted += marks >= 0;
        sums.correct += marks > 0 && (marks & 1);
        sums.agreed += marks > 0 && (marks & 2);
    }
    const double soft_weight = (1 - (double)a->alpha) * a->hard.state->soft_weight;
    sums.loss_sum = a->alpha * sums.hard_sum + soft_weight * sums.soft_sum;
    *a->hard.result = sums;
}
