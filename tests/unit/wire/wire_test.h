/* What the tests of the codec share. */
#ifndef TESTS_UNIT_WIRE_TEST_H
#define TESTS_UNIT_WIRE_TEST_H

#include "base/check.h"
#include "proto/frame.h"
#include "wire/wire.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTES(literal)                                                  \
    {                                                                   \
        .data = (const uint8_t *)(literal), .size = sizeof(literal) - 1 \
    }

/* What an output queue holds, flat; the caller frees it. */
static inline struct brd_bytes
flatten(const struct brd_outq *queue)
{
    size_t size = (size_t)brd_outq_pending(queue);
    uint8_t *data = malloc(size + 1);
    struct iovec *iov = malloc(100000 * sizeof(*iov));
    size_t n = brd_outq_peek(queue, UINT64_MAX, iov, 100000);
    size_t at = 0;

    for (size_t i = 0; i < n; i++) {
        memcpy(data + at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    free(iov);
    BRD_CHECK(at == size);
    return brd_bytes(data, size);
}

/* The message in a frame that holds exactly one. */
static inline struct brd_bytes
unframe(struct brd_bytes frame)
{
    size_t head;
    uint64_t body;

    BRD_CHECK(brd_frame_parse(frame.data, frame.size, UINT64_MAX, &head, &body) == BRD_FRAME_OK);
    BRD_CHECK(head + body == frame.size);
    return brd_bytes(frame.data + head, (size_t)body);
}

/* A file of tests/unit/wire/golden, open. */
static inline FILE *
open_golden(const char *name)
{
    const char *root = getenv("BRINDLE_SRC");
    char path[PATH_MAX];
    FILE *file;

    if (root != NULL)
        snprintf(path, sizeof(path), "%s/tests/unit/wire/golden/%s", root, name);
    else
        snprintf(path, sizeof(path), "%.*s/golden/%s", (int)(strrchr(__FILE__, '/') - __FILE__),
                 __FILE__, name);
    file = fopen(path, "r");
    if (file == NULL)
        fprintf(stderr, "%s cannot be opened\n", path);
    BRD_CHECK(file != NULL);
    return file;
}

/* The bytes of a line of a golden file; the caller frees them. */
static inline struct brd_bytes
golden(const char *file_name, const char *name)
{
    FILE *file = open_golden(file_name);
    size_t name_size = strlen(name);
    char *line = NULL;
    size_t room = 0;
    ssize_t size;

    while ((size = getline(&line, &room, file)) > 0) {
        const char *hex = line + name_size + 1;
        uint8_t *data = (uint8_t *)line;
        size_t n = 0;

        if ((size_t)size < name_size + 2 || strncmp(line, name, name_size) != 0 ||
            line[name_size] != ' ')
            continue;
        for (; hex[0] != '\n'; hex += 2) {
            const char digits[3] = { hex[0], hex[1], '\0' };

            data[n++] = (uint8_t)strtoul(digits, NULL, 16);
        }
        fclose(file);
        /* of exactly this size, so that the address sanitizer sees a read behind it */
        data = malloc(n == 0 ? 1 : n);
        memcpy(data, line, n);
        free(line);
        return brd_bytes(data, n);
    }
    fprintf(stderr, "%s has no %s\n", file_name, name);
    abort();
}

#endif
