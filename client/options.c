/* Size-tagged options: see options.h. A caller built against an older header has
 * a shorter struct: what it lacks is zero, the default. One built against a newer
 * header has a longer one: only a non-zero rest asks for what we do not have. */
#include "options.h"

enum brd_status
options_read(const void *opts, void *own, size_t own_size)
{
    const uint8_t *bytes = opts;
    size_t size = own_size;
    size_t i;

    if (opts != NULL) {
        memcpy(&size, opts, sizeof(size));
        if (size < sizeof(size))
            return BRD_INVALID_ARGUMENT;
        for (i = own_size; i < size; i++) {
            if (bytes[i] != 0)
                return BRD_UNSUPPORTED;
        }
    }
    memset(own, 0, own_size);
    if (opts != NULL)
        memcpy(own, opts, size < own_size ? size : own_size);
    memcpy(own, &own_size, sizeof(own_size));
    return BRD_OK;
}
