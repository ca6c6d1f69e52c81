/* The cipher for what is begun on this machine. By itself, so that a test can put its own in place
 * of it at link time: logs and snapshots of both kinds are read everywhere. */
#include "seal/seal.h"

#include <cpuid.h>

enum brd_seal_cipher
brd_seal_preferred(void)
{
    unsigned a, b, c, d;
    bool fast = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_AES) != 0 && (c & bit_PCLMUL) != 0;

    return fast ? BRD_SEAL_AES_256_GCM : BRD_SEAL_CHACHA20_POLY1305;
}
