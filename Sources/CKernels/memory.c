#define _GNU_SOURCE
#include "internal.h"
#if defined(__linux__)
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>
#endif
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

#if defined(__linux__)
/// Code is never written: what is read again comes from the file, or rather from the system's copy of it.
static int forget_segments(struct dl_phdr_info *object, size_t size, void *unused) {
    (void)size, (void)unused;
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || (segment->p_flags & (PF_X | PF_W)) != PF_X) continue;
        const uintptr_t begin = object->dlpi_addr + segment->p_vaddr;
        const uintptr_t first = begin / page * page, end = (begin + segment->p_filesz + page - 1) / page * page;
        madvise((void *)first, end - first, MADV_DONTNEED);
    }
    return 0;
}
#endif

void ck_forget_code(void) {
#if defined(__linux__)
    dl_iterate_phdr(forget_segments, NULL);
#endif
}
