// What the sanitizers must find, or not, before their silence about the tests means anything.
//     planted race | ordered | overflow | leak
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// How teams of kernels start (libgomp's own entry).
void GOMP_parallel(void (*body)(void *), void *data, unsigned threads, unsigned flags);
int omp_get_thread_num(void);

static volatile long sums[2];

static void to_one_place(void *data) {
    (void)data;
    for (int i = 0; i < 100; i++) sums[0] += i;
}

static void to_places_of_their_own(void *data) {
    (void)data;
    for (int i = 0; i < 100; i++) sums[omp_get_thread_num() & 1] += i;
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "";
    if (strcmp(what, "overflow") == 0) {
        volatile char *bytes = malloc(16);
        int past = 16 + (count - 2);
        bytes[past] = 1;
        free((void *)bytes);
    } else if (strcmp(what, "leak") == 0) {
        for (int i = 0; i < 10; i++) *(volatile char *)malloc(1000) = 1;
    } else if (strcmp(what, "race") == 0) {
        for (int i = 0; i < 100; i++) GOMP_parallel(to_one_place, NULL, 2, 0);
    } else if (strcmp(what, "ordered") == 0) {
        for (int i = 0; i < 100; i++) {
            GOMP_parallel(to_places_of_their_own, NULL, 2, 0);
            sums[0] += sums[1];  // between two teams: the first has ended
            sums[1] = 0;
        }
    } else {
        return 2;
    }
    printf("%ld\n", sums[0]);
    return 0;
}
