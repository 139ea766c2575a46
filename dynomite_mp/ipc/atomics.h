/* The only atomics in the tree: aligned 64- and 32-bit words in memory that two processes map.
 *
 * Every protocol of ipc/ is written in these seven words. x86 would forgive a plain store; ARM would show the
 * index before the payload. So nothing outside this header touches a shared word directly.
 */
#ifndef DYNOMITE_MP_ATOMICS_H
#define DYNOMITE_MP_ATOMICS_H

#include <stddef.h>
#include <stdint.h>

_Static_assert(__atomic_always_lock_free(sizeof(uint64_t), 0), "64-bit words in shared memory must be lock-free");

/* Sees everything that the writer stored before its release of this word. */
static inline uint64_t shared_load_acquire(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static inline uint32_t shared_load_acquire_u32(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

/* For words that this process alone writes, and for statistics of others. */
static inline uint64_t shared_load_relaxed(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }

/* Everything stored before is visible to whoever acquires this value. */
static inline void shared_store_release(uint64_t *word, uint64_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}
static inline void shared_store_release_u32(uint32_t *word, uint32_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* Never torn, no order: counters and gauges. */
static inline void shared_store_relaxed(uint64_t *word, uint64_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

/* One writer per word, so an addition needs no locked instruction. */
static inline void shared_add_single_writer(uint64_t *word, uint64_t amount) {
    __atomic_store_n(word, __atomic_load_n(word, __ATOMIC_RELAXED) + amount, __ATOMIC_RELAXED);
}

/* Orders a store before a later load of another word: the two halves of the sleep protocol. */
static inline void shared_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

/* Place of a value in a log-linear histogram: 8 buckets an octave, the last one takes everything above. */
#define HISTOGRAM_BUCKET_COUNT 288
static inline uint32_t histogram_bucket(uint64_t value) {
    if (value < 8)
        return (uint32_t)value;
    uint32_t exponent = 63u - (uint32_t)__builtin_clzll(value);
    uint32_t bucket = (exponent - 2u) * 8u + (uint32_t)((value >> (exponent - 3u)) & 7u);
    return bucket < HISTOGRAM_BUCKET_COUNT ? bucket : HISTOGRAM_BUCKET_COUNT - 1u;
}

#endif
