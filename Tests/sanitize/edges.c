// Tells ThreadSanitizer of orders that it cannot see, because code makes them that was not compiled for it: what
// Swift's Mutex does where threads contend (the kernel hands the lock over), and libgomp's teams. Loaded in front
// of both by LD_PRELOAD. Mutex's fast path is in the code of its users, and Dispatch is known.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>

extern void __tsan_acquire(void *address) __attribute__((weak));
extern void __tsan_release(void *address) __attribute__((weak));

static void acquire(void *address) { if (__tsan_acquire) __tsan_acquire(address); }
static void release(void *address) { if (__tsan_release) __tsan_release(address); }

#define NEXT(kind, name) ((kind)dlsym(RTLD_NEXT, name))
#define SWIFT __attribute__((swiftcall))
#define SELF __attribute__((swift_context))

#define LOCK "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define TRY_LOCK "$s15Synchronization12_MutexHandleV12_tryLockSlowSbyF"
#define UNLOCK "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"

SWIFT void mutex_lock(uint32_t thread, SELF void *mutex) __asm__(LOCK);
SWIFT void mutex_lock(uint32_t thread, SELF void *mutex) {
    NEXT(SWIFT void (*)(uint32_t, SELF void *), LOCK)(thread, mutex);
    acquire(mutex);
}

SWIFT _Bool mutex_try_lock(SELF void *mutex) __asm__(TRY_LOCK);
SWIFT _Bool mutex_try_lock(SELF void *mutex) {
    _Bool is_locked = NEXT(SWIFT _Bool (*)(SELF void *), TRY_LOCK)(mutex);
    if (is_locked) acquire(mutex);
    return is_locked;
}

SWIFT void mutex_unlock(SELF void *mutex) __asm__(UNLOCK);
SWIFT void mutex_unlock(SELF void *mutex) {
    release(mutex);
    NEXT(SWIFT void (*)(SELF void *), UNLOCK)(mutex);
}

// All teams, of our kernels and of oneDNN: what was before a team began comes before what its members do, and
// that before what follows. Members are in no order between them.
typedef struct {
    void (*body)(void *);
    void *data;
    char begun, ended;
} team;

static void join(void *pointer) {
    team *whole = pointer;
    acquire(&whole->begun);
    whole->body(whole->data);
    release(&whole->ended);
}

void GOMP_parallel(void (*body)(void *), void *data, unsigned threads, unsigned flags) {
    team whole = {body, data, 0, 0};
    release(&whole.begun);
    typedef void begin(void (*)(void *), void *, unsigned, unsigned);
    NEXT(begin *, "GOMP_parallel")(join, &whole, threads, flags);
    acquire(&whole.ended);
}
