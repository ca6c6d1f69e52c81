#include "base/random.h"

#include "base/check.h"

#include <errno.h>
#include <sys/random.h>

void
brd_random_fill(void *out, size_t size)
{
    char *at = out;

    while (size > 0) {
        ssize_t n = getrandom(at, size, 0);

        if (n < 0 && errno == EINTR)
            continue;
        BRD_CHECK(n > 0);
        at += n;
        size -= (size_t)n;
    }
}
