#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

void
brd_check_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "<0>bug: %s:%d: %s does not hold; please report this\n", file, line, condition);
    abort();
}
