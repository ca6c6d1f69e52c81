/* Which changes are shown. Pure. */
#ifndef BRD_TOOLS_WAL_FILTER_H
#define BRD_TOOLS_WAL_FILTER_H

#include "base/buf.h"
#include "engine/engine.h"

#include <stdbool.h>

struct filter {
    bool by_key;
    bool by_prefix;
    bool by_ns;
    struct brd_buf key; /* owned: the key, or the prefix */
    uint64_t ns;
    uint64_t from; /* versions, both included */
    uint64_t to;
};

void filter_init(struct filter *filter);
void filter_fini(struct filter *filter);

/* Only this key, or (prefix) only keys that begin so. The text is as the tool itself
 * prints keys: \xHH is a byte, \\ and \" stand for themselves. False: it is not. */
bool filter_set_key(struct filter *filter, const char *text, bool prefix);

/* Only this namespace: its number, or "default". False: neither. */
bool filter_set_namespace(struct filter *filter, const char *text);

/* Does it look into changes at all? */
bool filter_is_narrow(const struct filter *filter);

/* A clear passes for each key of its namespace. */
bool filter_passes(const struct filter *filter, const struct brd_change *change);

#endif
