#include "base/crashpoint.h"

#ifdef BRD_DEBUG
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Atomic long passes; /* of the one name that is asked for; relaxed */

void
brd_crash_point(const char *name)
{
    const char *wanted = getenv("BRINDLE_CRASH");
    size_t size = strlen(name);
    long nth = 1;

    if (wanted == NULL || strncmp(wanted, name, size) != 0)
        return;
    if (wanted[size] == ':')
        nth = strtol(wanted + size + 1, NULL, 10);
    else if (wanted[size] != '\0')
        return;
    if (atomic_fetch_add_explicit(&passes, 1, memory_order_relaxed) + 1 == nth)
        _exit(137);
}
#else
/* An empty file is no C. */
extern int brd_crash_points_are_off;
#endif
