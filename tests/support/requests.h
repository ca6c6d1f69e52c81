/* Comparing plain requests, for tests and fuzz harnesses of codecs. */
#ifndef TESTS_SUPPORT_REQUESTS_H
#define TESTS_SUPPORT_REQUESTS_H

#include "base/request.h"

/* The name of the first field in which two requests differ, or NULL. */
static inline const char *
requests_differ(const struct brd_request *a, const struct brd_request *b)
{
    size_t i;

#define DIFFER_NUMBER(field)  \
    if (a->field != b->field) \
    return #field
#define DIFFER_BYTES(field)                   \
    if (!brd_bytes_equal(a->field, b->field)) \
    return #field
    DIFFER_NUMBER(id);
    DIFFER_NUMBER(op);
    DIFFER_BYTES(name_space);
    DIFFER_BYTES(key);
    DIFFER_NUMBER(hash);
    DIFFER_BYTES(value);
    DIFFER_NUMBER(count);
    DIFFER_NUMBER(ttl_ms);
    DIFFER_NUMBER(deadline_ms);
    DIFFER_NUMBER(if_version);
    DIFFER_NUMBER(delta);
    DIFFER_NUMBER(initial);
    DIFFER_NUMBER(protocol_version);
    DIFFER_NUMBER(condition);
    DIFFER_NUMBER(durability);
    DIFFER_NUMBER(checkpoint_mode);
    DIFFER_NUMBER(keep_ttl);
    DIFFER_NUMBER(return_previous);
    DIFFER_NUMBER(exact);
    if ((a->keys == NULL) != (b->keys == NULL))
        return "keys";
    if ((a->items == NULL) != (b->items == NULL))
        return "items";
    for (i = 0; i < a->count; i++) {
        if (a->keys != NULL)
            DIFFER_BYTES(keys[i]);
        if (a->items != NULL) {
            DIFFER_BYTES(items[i].key);
            DIFFER_BYTES(items[i].value);
        }
    }
#undef DIFFER_NUMBER
#undef DIFFER_BYTES
    return NULL;
}

#endif
