#ifndef RAWWS_MASK_H
#define RAWWS_MASK_H

#include <stdint.h>
#include <string.h>

/* Masking (RFC 6455, section 5.3). memcpy loads and stores the words, because neither side has to be aligned. The key is
   held as it lies in memory, so the order of bytes in a word does not matter. gcc -O3 makes vector code of both loops.
   They are separate because `restrict` spares the first one a test for overlap. If the loader can choose, there is a
   version of each for processors with wider vectors. */

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) \
    && !defined(__SANITIZE_ADDRESS__)
#define RAWWS_VECTORS __attribute__((target_clones("avx2", "default")))
#else
#define RAWWS_VECTORS
#endif

RAWWS_VECTORS
static inline void rawws_mask_copy(unsigned char *restrict to, const unsigned char *restrict from, size_t size,
                            uint32_t key) {
    const uint64_t keys = ((uint64_t)key << 32) | key;
    size_t words = size / 8, i;
    for (i = 0; i < words; i++) {
        uint64_t word;
        memcpy(&word, from + 8 * i, 8);
        word ^= keys;
        memcpy(to + 8 * i, &word, 8);
    }
    for (i = 8 * words; i < size; i++)
        to[i] = from[i] ^ ((const unsigned char *)&key)[i & 3];
}

RAWWS_VECTORS
static inline void rawws_mask(unsigned char *data, size_t size, uint32_t key) {
    const uint64_t keys = ((uint64_t)key << 32) | key;
    size_t words = size / 8, i;
    for (i = 0; i < words; i++) {
        uint64_t word;
        memcpy(&word, data + 8 * i, 8);
        word ^= keys;
        memcpy(data + 8 * i, &word, 8);
    }
    for (i = 8 * words; i < size; i++)
        data[i] ^= ((const unsigned char *)&key)[i & 3];
}

/* The key for bytes that begin at `offset` of a payload. */
static inline uint32_t rawws_turned(uint32_t key, size_t offset) {
    unsigned char bytes[8];
    memcpy(bytes, &key, 4);
    memcpy(bytes + 4, &key, 4);
    memcpy(&key, bytes + (offset & 3), 4);
    return key;
}

#endif
