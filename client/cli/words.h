/* A line, taken apart into words as a shell would. Pure. */
#ifndef BRINDLE_CLI_WORDS_H
#define BRINDLE_CLI_WORDS_H

#include <brindle.h>

#define WORDS_MAX      100000                     /* words of one line */
#define LINE_BYTES_MAX ((size_t)64 * 1024 * 1024) /* a longer line is refused */

/* The words of a command. Each has a NUL behind it that is not counted. */
struct words {
    struct brd_bytes *list; /* owned */
    size_t count;
    char *bytes; /* owned; what the list points into, NULL if it is borrowed */
};

/* Take a line apart.
 *
 * Words are separated by blanks. 'single quotes' keep everything as it is;
 * "double quotes" keep blanks and know \n \r \t \0 \\ \" \xHH, which also work
 * outside quotes. A # at the start of a word begins a comment.
 *
 * out_error  written on failure: what is wrong (static).
 * Returns    BRD_OK, BRD_INVALID_ARGUMENT, BRD_TOO_LARGE, BRD_OUT_OF_MEMORY. On
 *            failure *words is empty. */
enum brd_status words_split(struct brd_bytes line, struct words *words, const char **out_error);

/* The words of a C argument vector; its strings are borrowed.
 * Returns BRD_OK, BRD_OUT_OF_MEMORY. */
enum brd_status words_from_argv(int argc, char **argv, struct words *words);

void words_fini(struct words *words);

#endif
