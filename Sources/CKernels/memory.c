#include "internal.h"
#if defined(__GLIBC__)
#include <malloc.h>
#endif

void ck_return_memory(void) {
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
}

void ck_limit_arenas(int count) {
#if defined(__GLIBC__)
    mallopt(M_ARENA_MAX, count);
#else
    (void)count;
#endif
}
