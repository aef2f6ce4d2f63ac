#include "base/crc32c.h"

#include <endian.h>
#include <pthread.h>
#include <stdatomic.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#define POLYNOMIAL 0x82F63B78u /* 0x1EDC6F41 with its bits in reverse */

/* Slicing by 8: table[k][n] is the CRC of byte n followed by k zero bytes. */
static uint32_t table[8][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void make_table(void)
{
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t crc = n;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 1) ? (crc >> 1) ^ POLYNOMIAL : crc >> 1;
        }
        table[0][n] = crc;
    }
    for (uint32_t n = 0; n < 256; n++) {
        for (int k = 1; k < 8; k++) {
            uint32_t crc = table[k - 1][n];
            table[k][n] = (crc >> 8) ^ table[0][crc & 0xFF];
        }
    }
}

static uint64_t load_le64(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof(word));
    return le64toh(word);
}

uint32_t crc32c_portable(uint32_t crc, struct bytes b)
{
    pthread_once(&table_once, make_table);
    const uint8_t *p = b.data;
    size_t n = b.len;
    crc = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t word = load_le64(p) ^ crc;
        crc = table[7][word & 0xFF] ^ table[6][word >> 8 & 0xFF] ^ table[5][word >> 16 & 0xFF] ^
              table[4][word >> 24 & 0xFF] ^ table[3][word >> 32 & 0xFF] ^ table[2][word >> 40 & 0xFF] ^
              table[1][word >> 48 & 0xFF] ^ table[0][word >> 56];
    }
    for (; n > 0; n--, p++) {
        crc = (crc >> 8) ^ table[0][(crc ^ *p) & 0xFF];
    }
    return ~crc;
}

#if defined(__x86_64__)

#define HAVE_HARDWARE 1

static bool hardware_present(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_hardware(uint32_t crc, struct bytes b)
{
    const uint8_t *p = b.data;
    size_t n = b.len;
    uint64_t wide = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        wide = _mm_crc32_u64(wide, load_le64(p));
    }
    crc = (uint32_t)wide;
    for (; n > 0; n--, p++) {
        crc = _mm_crc32_u8(crc, *p);
    }
    return ~crc;
}

#elif defined(__aarch64__) && defined(__AARCH64EL__)

#define HAVE_HARDWARE 1

#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1ul << 7)
#endif

static bool hardware_present(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}

/* The instructions by name: compilers differ in how they offer them to code that is not built for the extension. */
static uint32_t step8(uint32_t crc, uint64_t word)
{
    __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
    return crc;
}

static uint32_t step1(uint32_t crc, uint32_t byte)
{
    __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"(byte));
    return crc;
}

static uint32_t crc32c_hardware(uint32_t crc, struct bytes b)
{
    const uint8_t *p = b.data;
    size_t n = b.len;
    crc = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        crc = step8(crc, load_le64(p));
    }
    for (; n > 0; n--, p++) {
        crc = step1(crc, *p);
    }
    return ~crc;
}

#endif

#ifdef HAVE_HARDWARE

typedef uint32_t crc_fn(uint32_t crc, struct bytes b);

static uint32_t choose(uint32_t crc, struct bytes b);
static crc_fn *_Atomic implementation = choose;

/* The first call lands here and leaves the better function in its own place. Threads that race choose the same. */
static uint32_t choose(uint32_t crc, struct bytes b)
{
    crc_fn *chosen = hardware_present() ? crc32c_hardware : crc32c_portable;
    atomic_store_explicit(&implementation, chosen, memory_order_relaxed);
    return chosen(crc, b);
}

uint32_t crc32c(uint32_t crc, struct bytes b)
{
    return atomic_load_explicit(&implementation, memory_order_relaxed)(crc, b);
}

#else

uint32_t crc32c(uint32_t crc, struct bytes b)
{
    return crc32c_portable(crc, b);
}

#endif
