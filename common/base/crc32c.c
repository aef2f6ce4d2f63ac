#include "base/crc32c.h"

#include <endian.h>
#include <pthread.h>
#include <stdatomic.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#include <wmmintrin.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

typedef uint32_t crc_fn(uint32_t crc, struct bytes b);

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

/* --- three at a time: the instruction takes three cycles, but one can be begun in each --- */

#define LANE_WORDS_MIN 3u /* words of 8 bytes in each of the three parts: with fewer it does not pay */
#define LANE_WORDS_MAX 128u

/* [n] = x^(64 n - 33) modulo the polynomial, bits in reverse: multiplied with a sum and reduced by the instruction it is what the sum
 * becomes n words further on. */
static uint32_t lane_shift[2 * LANE_WORDS_MAX + 1];
static pthread_once_t lane_shift_once = PTHREAD_ONCE_INIT;

__attribute__((target("sse4.2"))) static void make_lane_shift(void)
{
    lane_shift[1] = 1; /* x^31 */
    for (unsigned n = 2; n <= 2 * LANE_WORDS_MAX; n++) {
        lane_shift[n] = (uint32_t)_mm_crc32_u64(lane_shift[n - 1], 0);
    }
}

/* What `crc` becomes `words` further on; to be reduced by the instruction. */
__attribute__((target("sse4.2,pclmul"))) static uint64_t shift(uint64_t crc, size_t words)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc), _mm_cvtsi64_si128(lane_shift[words]), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t crc32c_lanes(uint32_t crc, struct bytes b)
{
    const uint8_t *p = b.data;
    size_t n = b.len;
    uint64_t first = ~crc;
    while (n >= 3 * 8 * LANE_WORDS_MIN) {
        size_t words = n / 24 < LANE_WORDS_MAX ? n / 24 : LANE_WORDS_MAX;
        uint64_t second = 0;
        uint64_t third = 0;
        for (size_t i = 0; i < words; i++, p += 8) {
            first = _mm_crc32_u64(first, load_le64(p));
            second = _mm_crc32_u64(second, load_le64(p + 8 * words));
            third = _mm_crc32_u64(third, load_le64(p + 16 * words));
        }
        first = third ^ _mm_crc32_u64(0, shift(first, 2 * words) ^ shift(second, words));
        p += 16 * words;
        n -= 24 * words;
    }
    return crc32c_hardware(~(uint32_t)first, bytes_make(p, n));
}

/* The best there is, NULL without any. */
static crc_fn *find_hardware(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("sse4.2")) {
        return NULL;
    }
    if (!__builtin_cpu_supports("pclmul")) {
        return crc32c_hardware;
    }
    pthread_once(&lane_shift_once, make_lane_shift);
    return crc32c_lanes;
}

#elif defined(__aarch64__) && defined(__AARCH64EL__)

#define HAVE_HARDWARE 1

#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1ul << 7)
#endif

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

/* NULL without. */
static crc_fn *find_hardware(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0 ? crc32c_hardware : NULL;
}

#endif

#ifdef HAVE_HARDWARE

static uint32_t choose(uint32_t crc, struct bytes b);
static crc_fn *_Atomic implementation = choose;

/* The first call lands here and leaves the better function in its own place. Threads that race choose the same. */
static uint32_t choose(uint32_t crc, struct bytes b)
{
    crc_fn *found = find_hardware();
    crc_fn *chosen = found ? found : crc32c_portable;
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
