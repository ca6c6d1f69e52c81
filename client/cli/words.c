/* Words of a line: see words.h. Words are never longer than what they are written
 * as, but each gets a NUL; so one allocation of twice the line holds them all. */
#include "words.h"

#include <stdlib.h>

/* Where we are in the line, and where the word goes. */
struct splitter {
    const char *at;
    const char *end;
    char *out;
    const char *error;
};

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The line is at a backslash. */
static bool
take_escape(struct splitter *splitter)
{
    char c;

    if (splitter->end - splitter->at < 2) {
        splitter->error = "a backslash at the end of the line";
        return false;
    }
    c = splitter->at[1];
    splitter->at += 2;
    switch (c) {
    case 'n':
        *splitter->out++ = '\n';
        return true;
    case 'r':
        *splitter->out++ = '\r';
        return true;
    case 't':
        *splitter->out++ = '\t';
        return true;
    case '0':
        *splitter->out++ = '\0';
        return true;
    case 'x':
        if (splitter->end - splitter->at < 2 || hex_digit(splitter->at[0]) < 0 ||
            hex_digit(splitter->at[1]) < 0) {
            splitter->error = "\\x needs two hexadecimal digits";
            return false;
        }
        *splitter->out++ = (char)(hex_digit(splitter->at[0]) << 4 | hex_digit(splitter->at[1]));
        splitter->at += 2;
        return true;
    default:
        *splitter->out++ = c;
        return true;
    }
}

/* The line is at an opening quote. */
static bool
take_quoted(struct splitter *splitter)
{
    char quote = *splitter->at++;

    while (splitter->at != splitter->end && *splitter->at != quote) {
        if (quote == '"' && *splitter->at == '\\') {
            if (!take_escape(splitter))
                return false;
        } else {
            *splitter->out++ = *splitter->at++;
        }
    }
    if (splitter->at == splitter->end) {
        splitter->error = quote == '"' ? "a \" is not closed" : "a ' is not closed";
        return false;
    }
    splitter->at++;
    return true;
}

static bool
take_word(struct splitter *splitter)
{
    while (splitter->at != splitter->end && !is_blank(*splitter->at)) {
        bool good = true;

        if (*splitter->at == '"' || *splitter->at == '\'')
            good = take_quoted(splitter);
        else if (*splitter->at == '\\')
            good = take_escape(splitter);
        else
            *splitter->out++ = *splitter->at++;
        if (!good)
            return false;
    }
    return true;
}

static void
skip_blanks(struct splitter *splitter)
{
    while (splitter->at != splitter->end && is_blank(*splitter->at))
        splitter->at++;
}

/* Room for one more word in the list. */
static bool
grow(struct words *words)
{
    struct brd_bytes *list;

    if ((words->count & (words->count - 1)) != 0)
        return true; /* the capacity is the next power of two */
    list = realloc(words->list, (words->count == 0 ? 1 : 2 * words->count) * sizeof(*words->list));
    if (list == NULL)
        return false;
    words->list = list;
    return true;
}

enum brd_status
words_split(struct brd_bytes line, struct words *words, const char **out_error)
{
    struct splitter splitter = { .at = line.data, .error = NULL };
    enum brd_status status = BRD_OUT_OF_MEMORY;

    *words = (struct words){ 0 };
    *out_error = "a line is at most 64 MiB long and has at most 100000 words";
    if (line.size > LINE_BYTES_MAX)
        return BRD_TOO_LARGE;
    if (line.size == 0)
        return BRD_OK;
    splitter.end = splitter.at + line.size;
    words->bytes = malloc(2 * line.size + 1);
    if (words->bytes == NULL)
        goto failed;
    splitter.out = words->bytes;
    for (skip_blanks(&splitter); splitter.at != splitter.end && *splitter.at != '#';
         skip_blanks(&splitter)) {
        char *start = splitter.out;

        status = BRD_TOO_LARGE;
        if (words->count == WORDS_MAX)
            goto failed;
        status = BRD_OUT_OF_MEMORY;
        if (!grow(words))
            goto failed;
        status = BRD_INVALID_ARGUMENT;
        if (!take_word(&splitter)) {
            *out_error = splitter.error;
            goto failed;
        }
        words->list[words->count++] = brd_bytes(start, (size_t)(splitter.out - start));
        *splitter.out++ = '\0';
    }
    return BRD_OK;

failed:
    if (status == BRD_OUT_OF_MEMORY)
        *out_error = "out of memory";
    words_fini(words);
    return status;
}

enum brd_status
words_from_argv(int argc, char **argv, struct words *words)
{
    int i;

    *words = (struct words){ 0 };
    for (i = 0; i < argc; i++) {
        if (!grow(words)) {
            words_fini(words);
            return BRD_OUT_OF_MEMORY;
        }
        words->list[words->count++] = brd_bytes_of(argv[i]);
    }
    return BRD_OK;
}

void
words_fini(struct words *words)
{
    free(words->list);
    free(words->bytes);
    *words = (struct words){ 0 };
}
