/* The network "@GRAPH@" as native code, written by Outrigger @VERSION@.
 *
 * The library needs nothing else: no runtime, no allocation, no global state but the answer of CPUID, which it asks
 * for once. Weights are constants of the library. All functions may be called from any number of threads at a time,
 * each call with a workspace of its own. Inputs, outputs and workspace must not overlap. */
#ifndef @UPPER@_H
#define @UPPER@_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Memory that a call works in, in bytes, and what its address must be a multiple of. Nothing in it needs to be set
 * before a call or kept after it. */
#define @UPPER@_WORKSPACE_BYTES @BYTES@
#define @UPPER@_WORKSPACE_ALIGNMENT @ALIGNMENT@
@SHAPES@
/* What the functions return. */
#define @UPPER@_OK @OK@
/* This CPU lacks instructions that the function needs; nothing was computed. */
#define @UPPER@_UNSUPPORTED @UNSUPPORTED@
/* The workspace is not aligned; nothing was computed. */
#define @UPPER@_MISALIGNED @MISALIGNED@

/* Runs the network once, on the calling thread, with the widest vectors of this CPU. Denormals count as zero
 * meanwhile; the caller's setting is restored. */
int @NAME@_run(@POINTERS@, void *workspace);

/* One piece of a batch. */
typedef void (*@NAME@_task)(void *argument, size_t index, size_t worker);

/* What a caller supplies to run a batch on threads: it calls task(argument, index, worker) once for every index below
 * `tasks`, in any order and from any threads, and returns when all calls have. `worker` tells apart calls that run at
 * the same time: no two of them may have the same number. `context` is the caller's own.
 *
 * With POSIX threads:
 *
 *     struct pool { @NAME@_task task; void *argument; size_t tasks, workers; };
 *     struct worker { struct pool *pool; size_t number; pthread_t thread; };
 *
 *     static void *work(void *p) {
 *         struct worker *w = p;
 *         for (size_t i = w->number; i < w->pool->tasks; i += w->pool->workers)
 *             w->pool->task(w->pool->argument, i, w->number);
 *         return NULL;
 *     }
 *     static void parallel_for(void *context, size_t tasks, @NAME@_task task, void *argument) {
 *         struct pool pool = {task, argument, tasks, *(size_t *)context};
 *         struct worker workers[pool.workers];
 *         for (size_t i = 0; i < pool.workers; i++) {
 *             workers[i].pool = &pool;
 *             workers[i].number = i;
 *             pthread_create(&workers[i].thread, NULL, work, &workers[i]);
 *         }
 *         for (size_t i = 0; i < pool.workers; i++)
 *             pthread_join(workers[i].thread, NULL);
 *     }
 *
 * (A program that runs many batches keeps its threads.) */
typedef void (*@NAME@_parallel_for)(void *context, size_t tasks, @NAME@_task task, void *argument);

/* Runs the network n times, as @NAME@_run does, with each pointer at n inputs or outputs one behind the other.
 * `workspaces` are as many workspaces, one behind the other, as the callback has workers. */
int @NAME@_run_batch(@POINTERS@, size_t n, void *workspaces, @NAME@_parallel_for parallel_for, void *context);

/* The variants of the code, the narrowest vectors first: "clif" has 128 bits (SSE4.2 on x86-64, NEON on ARM), AVX2 256
 * and AVX-512 512. */
@LEVELS@
/* The variant that @NAME@_run takes on this CPU, or 0 if it runs none. */
int @NAME@_isa(void);

/* One variant each, to measure and to test. On one CPU all give the same results but for rounding. */
@FORCED@
#ifdef __cplusplus
}
#endif

#endif
