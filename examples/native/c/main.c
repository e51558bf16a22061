/* Prints the class of each image in a file of floats, 32 x 32 x 3 of them an image, each 0 to 1.
 *
 *     cargo run --release --example native -- DIR
 *     gcc -std=c99 -O2 -IDIR examples/native/c/main.c DIR/resnet.a -pthread -o classify
 *     ./classify DIR/images [THREADS]
 */
#define _POSIX_C_SOURCE 200809L
#include "resnet.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* How the threads of a batch share its pieces. */
struct pool { resnet_task task; void *argument; size_t tasks, workers; };
struct worker { struct pool *pool; size_t number; pthread_t thread; };

static void *work(void *p) {
    struct worker *w = p;
    for (size_t i = w->number; i < w->pool->tasks; i += w->pool->workers)
        w->pool->task(w->pool->argument, i, w->number);
    return NULL;
}

/* The callback of resnet_run_batch; `context` is the number of threads. */
static void parallel_for(void *context, size_t tasks, resnet_task task, void *argument) {
    struct pool pool = {task, argument, tasks, *(size_t *)context};
    struct worker *workers = malloc(pool.workers * sizeof *workers);
    if (!workers)
        exit(1);
    for (size_t i = 0; i < pool.workers; i++) {
        workers[i].pool = &pool;
        workers[i].number = i;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
            exit(1);
    }
    for (size_t i = 0; i < pool.workers; i++)
        pthread_join(workers[i].thread, NULL);
    free(workers);
}

/* The images of a file, and how many they are; NULL if it cannot be read. */
static float *read_images(const char *path, size_t *n) {
    FILE *file = fopen(path, "rb");
    float *images = NULL;
    if (file && fseek(file, 0, SEEK_END) == 0) {
        size_t floats = (size_t)ftell(file) / sizeof(float);
        *n = floats / RESNET_IN_IMAGES_ELEMENTS;
        rewind(file);
        images = malloc(floats * sizeof(float) + 1);
        if (images && fread(images, sizeof(float), floats, file) != floats) {
            free(images);
            images = NULL;
        }
    }
    if (file)
        fclose(file);
    return images;
}

int main(int argc, char **argv) {
    size_t n = 0, threads = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : 1;
    float *images = argc > 1 && threads > 0 ? read_images(argv[1], &n) : NULL;
    if (!images) {
        fprintf(stderr, "usage: %s IMAGES [THREADS]\n", argv[0]);
        return 1;
    }
    float *logits = malloc(n * RESNET_OUT_LOGITS_ELEMENTS * sizeof(float) + 1);
    void *workspaces = NULL;
    if (!logits || posix_memalign(&workspaces, RESNET_WORKSPACE_ALIGNMENT, threads * RESNET_WORKSPACE_BYTES))
        return 1;
    int code = resnet_run_batch(images, logits, n, workspaces, parallel_for, &threads);
    for (size_t i = 0; code == RESNET_OK && i < n; i++) {
        const float *row = logits + i * RESNET_OUT_LOGITS_ELEMENTS;
        int best = 0;
        for (int class = 1; class < RESNET_OUT_LOGITS_ELEMENTS; class++)
            if (row[class] > row[best])
                best = class;
        printf("%d\n", best);
    }
    free(images);
    free(logits);
    free(workspaces);
    return code;
}
