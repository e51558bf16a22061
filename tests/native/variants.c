/* Runs every variant of an exported network on the images of a file and writes all logits to another.
 *
 *     variants IMAGES LOGITS [REPEATS]
 *
 * IMAGES holds floats, an image after another. LOGITS gets, for each variant that this CPU runs (the narrowest first),
 * then for NAME_run, then for NAME_run_batch, the logits of all images; nothing if it runs none. With REPEATS, prints the median time of
 * NAME_run on the first image. Memory that the network must not touch surrounds all that it may. */
#define _POSIX_C_SOURCE 200809L
#include "seed.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __SSE__
#include <xmmintrin.h>
#else
#define _mm_getcsr() 0u
#endif

#define GUARD 256
#define THREADS 2

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

/* Aligned memory with guards on both sides. */
static unsigned char *guarded(size_t bytes) {
    unsigned char *memory = NULL;
    if (posix_memalign((void **)&memory, SEED_WORKSPACE_ALIGNMENT, bytes + 2 * GUARD))
        fail("no memory");
    memset(memory, 0xa5, GUARD);
    memset(memory + GUARD + bytes, 0xa5, GUARD);
    return memory + GUARD;
}

static void check_and_free(unsigned char *inner, size_t bytes) {
    for (size_t i = 0; i < GUARD; i++)
        if (inner[i - GUARD] != 0xa5 || inner[bytes + i] != 0xa5)
            fail("memory beside a buffer was written");
    free(inner - GUARD);
}

struct pool { seed_task task; void *argument; size_t tasks; };
struct worker { struct pool *pool; size_t number; pthread_t thread; };

static void *work(void *p) {
    struct worker *w = p;
    for (size_t i = w->number; i < w->pool->tasks; i += THREADS)
        w->pool->task(w->pool->argument, i, w->number);
    return NULL;
}

static void parallel_for(void *context, size_t tasks, seed_task task, void *argument) {
    struct pool pool = {task, argument, tasks};
    struct worker workers[THREADS];
    *(int *)context += 1;
    for (size_t i = 0; i < THREADS; i++) {
        workers[i].pool = &pool;
        workers[i].number = i;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
            fail("no thread");
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc < 3)
        fail("variants IMAGES LOGITS [REPEATS]");
    FILE *file = fopen(argv[1], "rb");
    if (!file || fseek(file, 0, SEEK_END))
        fail("cannot read the images");
    size_t input = SEED_IN_IMAGES_ELEMENTS, output = SEED_OUT_LOGITS_ELEMENTS;
    size_t n = (size_t)ftell(file) / sizeof(float) / input;
    rewind(file);
    size_t in_bytes = n * input * sizeof(float), out_bytes = n * output * sizeof(float);
    /* floats that are aligned as floats, and no better */
    unsigned char *in_memory = guarded(in_bytes + 4), *out_memory = guarded(out_bytes + 4);
    float *in = (float *)(void *)(in_memory + 4), *out = (float *)(void *)(out_memory + 4);
    if (fread(in, sizeof(float), n * input, file) != n * input)
        fail("cannot read the images");
    fclose(file);

    int (*runs[])(const float *, float *, void *) = {
        seed_run_clif,
#ifdef SEED_AVX2
        seed_run_avx2,
        seed_run_avx512,
#endif
        seed_run,
    };
    size_t count = sizeof runs / sizeof *runs;
    file = fopen(argv[2], "wb");
    if (!file)
        fail("cannot write the logits");
    unsigned char *workspace = guarded(SEED_WORKSPACE_BYTES);
    /* nothing in it needs to be set: NaN everywhere */
    memset(workspace, 0xff, SEED_WORKSPACE_BYTES);
    for (size_t i = 0; i < count; i++) {
        int level = i + 1 < count ? (int)i + 1 : 1, supported = level <= seed_isa();
        for (size_t image = 0; image < n; image++) {
            unsigned control = _mm_getcsr();
            int code = runs[i](in + image * input, out + image * output, workspace);
            if (control != _mm_getcsr())
                fail("the floating-point control register was changed");
            if (code != (supported ? SEED_OK : SEED_UNSUPPORTED))
                fail("a variant returned something else");
        }
        if (supported)
            fwrite(out, 1, out_bytes, file);
    }
    unsigned char *workspaces = guarded(THREADS * (size_t)SEED_WORKSPACE_BYTES);
    int calls = 0, able = seed_isa() > 0;
    if (able && seed_run(in, out, workspace + 4) != SEED_MISALIGNED)
        fail("a workspace out of line was taken");
    memset(out, 0, out_bytes);
    int code = seed_run_batch(in, out, n, workspaces, parallel_for, &calls);
    if (code != (able ? SEED_OK : SEED_UNSUPPORTED) || calls != able)
        fail("the batch did not run once");
    if (able)
        fwrite(out, 1, out_bytes, file);
    if (fclose(file))
        fail("cannot write the logits");

    int repeats = argc > 3 ? atoi(argv[3]) : 0;
    double *times = malloc(sizeof(double) * (size_t)(repeats + 1));
    for (int i = 0; i < repeats; i++) {
        struct timespec start, end;
        clock_gettime(CLOCK_MONOTONIC, &start);
        seed_run(in, out, workspace);
        clock_gettime(CLOCK_MONOTONIC, &end);
        times[i] = (double)(end.tv_sec - start.tv_sec) * 1e6 + (double)(end.tv_nsec - start.tv_nsec) / 1e3;
    }
    if (repeats > 0) {
        qsort(times, (size_t)repeats, sizeof(double), compare);
        printf("%.1f us\n", times[repeats / 2]);
    }
    free(times);
    check_and_free(in_memory, in_bytes + 4);
    check_and_free(out_memory, out_bytes + 4);
    check_and_free(workspace, SEED_WORKSPACE_BYTES);
    check_and_free(workspaces, THREADS * (size_t)SEED_WORKSPACE_BYTES);
    return 0;
}
