#define _GNU_SOURCE
#include "internal.h"
#include <sys/syscall.h>
#include <unistd.h>

// libgomp's entry points: the team that Debian's oneDNN computes on. Declared here because clang's own OpenMP
// support would bring a second runtime (libomp) and with it a second pool of threads.
extern void GOMP_parallel(void (*body)(void *), void *data, unsigned threads, unsigned flags);
extern void omp_set_num_threads(int threads);
extern void omp_set_dynamic(int dynamic);
extern int omp_pause_resource_all(int kind);
extern int omp_get_max_threads(void);
extern int omp_get_thread_num(void);
extern int omp_get_num_threads(void);

static _Thread_local uint64_t regions;

void ck_team_use(int threads) {
    omp_set_dynamic(0);
    omp_set_num_threads(threads);
}

void ck_team_release(void) {
    enum { OMP_PAUSE_SOFT = 1 };
    omp_pause_resource_all(OMP_PAUSE_SOFT);
}

int ck_team_count(void) { return omp_get_max_threads(); }

uint64_t ck_team_region_count(void) { return regions; }

typedef struct {
    void (*body)(void *, int, int);
    void *data;
} call;

static void enter(void *pointer) {
    const call *c = pointer;
    c->body(c->data, omp_get_thread_num(), omp_get_num_threads());
}

void ck_team_run(void (*body)(void *, int, int), void *data) {
    call c = {body, data};
    regions += 1;
    GOMP_parallel(enter, &c, 0, 0);
}

typedef struct {
    int32_t *ids;
    int capacity;
} id_list;

static void note_id(void *pointer, int thread, int threads) {
    (void)threads;
    const id_list *list = pointer;
    if (thread < list->capacity) list->ids[thread] = (int32_t)syscall(SYS_gettid);
}

int ck_team_thread_ids(int32_t *ids, int capacity) {
    id_list list = {ids, capacity};
    ck_team_run(note_id, &list);
    int count = ck_team_count();
    return count < capacity ? count : capacity;
}

typedef struct {
    ck_range_body body;
    const void *arguments;
    size_t count;
    /// A share begins at a multiple of this.
    size_t grain;
} range_call;

static void run_range(void *pointer, int thread, int threads) {
    const range_call *c = pointer;
    size_t grains = (c->count + c->grain - 1) / c->grain;
    size_t begin = grains * (size_t)thread / (size_t)threads * c->grain;
    size_t end = grains * ((size_t)thread + 1) / (size_t)threads * c->grain;
    if (end > c->count) end = c->count;
    if (begin < end) c->body(c->arguments, begin, end);
}

static void split(ck_range_body body, const void *arguments, size_t count, size_t weight, size_t grain) {
    if (count * weight < CK_SERIAL_COUNT || count <= grain || ck_team_count() == 1) {
        body(arguments, 0, count);
        return;
    }
    range_call c = {body, arguments, count, grain};
    ck_team_run(run_range, &c);
}

void ck_for_range(ck_range_body body, const void *arguments, size_t count, size_t weight) {
    split(body, arguments, count, weight, 16);
}

void ck_for_units(ck_range_body body, const void *arguments, size_t count, size_t weight) {
    split(body, arguments, count, weight, 1);
}
