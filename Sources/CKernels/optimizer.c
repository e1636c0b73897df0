#include "optimizer.h"
#include "update_rules.h"

/// Updates elements `begin` to `end` from a place on, of gradients that begin there too.
CK_INLINE void update_lanes(
    const ck_rule_values *r, const ck_update_place *p, const float *gradient, size_t begin, size_t end,
    const ck_rule_kind kind, const int averages, const int isMasked) {
    size_t i = begin;
    for (; i + CK_LANES <= end; i += CK_LANES)
        ck_update_some(r, p, gradient, i, CK_LANES, kind, averages, isMasked);
    if (i < end) ck_update_some(r, p, gradient, i, end - i, kind, averages, isMasked);
}

CK_INLINE void update_kind(
    const ck_rule_values *r, const ck_update_place *p, const float *gradient, size_t begin, size_t end,
    const ck_rule_kind kind) {
    if (p->average && p->mask) update_lanes(r, p, gradient, begin, end, kind, 1, 1);
    else if (p->average) update_lanes(r, p, gradient, begin, end, kind, 1, 0);
    else if (p->mask) update_lanes(r, p, gradient, begin, end, kind, 0, 1);
    else update_lanes(r, p, gradient, begin, end, kind, 0, 0);
}

CK_INLINE void update(
    const ck_update_arguments *a, const ck_rule_values *r, const ck_update_place *p, const float *gradient,
    size_t begin, size_t end) {
    switch (ck_kind_of_rule(a)) {
    case CK_BY_GRADIENT: update_kind(r, p, gradient, begin, end, CK_BY_GRADIENT); break;
    case CK_BY_VELOCITY: update_kind(r, p, gradient, begin, end, CK_BY_VELOCITY); break;
    case CK_BY_NESTEROV: update_kind(r, p, gradient, begin, end, CK_BY_NESTEROV); break;
    case CK_BY_MOMENTS: update_kind(r, p, gradient, begin, end, CK_BY_MOMENTS); break;
    case CK_BY_SIGN: update_kind(r, p, gradient, begin, end, CK_BY_SIGN); break;
    case CK_BY_ROOT: update_kind(r, p, gradient, begin, end, CK_BY_ROOT); break;
    case CK_BY_ROOT_VELOCITY: update_kind(r, p, gradient, begin, end, CK_BY_ROOT_VELOCITY); break;
    }
}

/// Updates elements `begin` to `end` of the segments laid end to end.
CK_CLONES
static void update_range(const void *pointer, size_t begin, size_t end) {
    const ck_update_arguments *a = pointer;
    size_t first = 0;
    for (size_t s = 0; s < a->segment_count && first < end; first += a->segments[s].count, s++) {
        const ck_segment *segment = &a->segments[s];
        const size_t low = begin > first ? begin - first : 0;
        const size_t high = end - first < segment->count ? end - first : segment->count;
        if (low >= high) continue;
        ck_rule_values values = ck_values_of_rule(a, segment);
        if (a->clip) values.scale = a->clip->scale;
        const ck_update_place place = ck_place_of_update(a, segment->offset);
        update(a, &values, &place, a->gradient + segment->offset, low, high);
    }
}

CK_CLONES
static void update_part(const ck_update_arguments *a, const float *gradient, size_t begin, size_t count) {
    const ck_rule_values values = ck_values_of_rule(a, a->segments);
    const ck_update_place place = ck_place_of_update(a, a->segments->offset + begin);
    update(a, &values, &place, gradient, 0, count);
}

void ck_update_part(
    const ck_update_arguments *arguments, const float *gradient, size_t begin, size_t count) {
    update_part(arguments, gradient, begin, count);
}

void ck_update(const ck_update_arguments *arguments) {
    ck_for_range(update_range, arguments, arguments->count, 1);
}
