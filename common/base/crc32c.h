/* CRC-32C (Castagnoli; RFC 3720 appendix B.4), in hardware on x86-64 (SSE 4.2) and ARMv8 (CRC) where the CPU has it. */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include "base/bytes.h"

/* Continues `crc` (0 to start) over b. Any thread. */
uint32_t crc32c(uint32_t crc, struct bytes b);
/* The portable version, for tests. */
uint32_t crc32c_portable(uint32_t crc, struct bytes b);

#endif
