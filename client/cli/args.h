/* Options of verbs: one table, from which parsing and help derive. Pure. */
#ifndef BRINDLE_CLI_ARGS_H
#define BRINDLE_CLI_ARGS_H

#include "words.h"

/* X(name in C, name on the command line, what it takes or NULL, help) */
#define ARG_OPTIONS(X)                                                                      \
    X(TTL, "ttl", "DURATION", "expire after so long: 500ms, 30s, 5m, 2h, 7d")               \
    X(DEADLINE, "deadline", "MS", "expire at this Unix time in milliseconds")               \
    X(IF_ABSENT, "if-absent", NULL, "only where there is no live key")                      \
    X(IF_PRESENT, "if-present", NULL, "only where there is a live key")                     \
    X(IF_VERSION, "if-version", "VERSION", "only where the key has exactly this version")   \
    X(KEEP_TTL, "keep-ttl", NULL, "keep the deadline of the value that is replaced")        \
    X(DURABILITY, "durability", "CLASS", "acknowledge when async, normal or full holds")    \
    X(RETURN_PREVIOUS, "return-previous", NULL, "print the value that was there before")    \
    X(RAW, "raw", NULL, "print the bytes of the value and nothing else, no newline either") \
    X(EXACT, "exact", NULL, "leave out expired keys that are not removed yet")              \
    X(INITIAL, "initial", "NUMBER", "what an absent key counts as (default 0)")             \
    X(DATA_DIR, "data-dir", "DIR", "what to copy (else $BRINDLE_DATA_DIR, ./brindle-data)") \
    X(KEY_FILE, "key-file", "FILE", "the keys of what is encrypted ($BRINDLE_KEY_FILE)")    \
    X(FORCE, "force", NULL, "move aside what is there, under another name")                 \
    X(HELP, "help", NULL, "show this help")

enum arg_option {
#define ARG_OPTION_ENUM(name, text, takes, help) ARG_##name,
    ARG_OPTIONS(ARG_OPTION_ENUM)
#undef ARG_OPTION_ENUM
        ARG_OPTION_COUNT
};

#define ARG_BIT(name) (1u << ARG_##name)

struct arg_option_info {
    const char *name;
    const char *takes; /* NULL: nothing */
    const char *help;
};

extern const struct arg_option_info arg_options[ARG_OPTION_COUNT];

/* The arguments of one command. Words are borrowed. */
struct args {
    const char *verb;
    struct brd_bytes *operands; /* owned */
    size_t operand_count;
    size_t literal_from; /* operands from here on came after -- and mean themselves */
    bool given[ARG_OPTION_COUNT];
    const char *values[ARG_OPTION_COUNT];
    char error[200]; /* what is wrong, after a function returned false */
};

/* Sort words into operands and options. A word -- ends the options; "--ttl 5s"
 * and "--ttl=5s" are the same. -h is --help before the first operand; behind one it
 * is an operand, as all that begins with a single dash: the value of "put KEY -h".
 * allowed: bits of the options that the verb knows.
 * False: see error; args_fini is due all the same. */
bool args_parse(const struct brd_bytes *words, size_t count, unsigned allowed, struct args *args);

void args_fini(struct args *args);

/* Texts to numbers; false: it is none. Durations: digits and a unit. */
bool args_duration(const char *text, uint64_t *out_ms);
bool args_unsigned(const char *text, uint64_t *out_number);
bool args_signed(const char *text, int64_t *out_number);

/* Values of options, with an error that names the option. Not given: 0, and
 * true. */
bool args_take_duration(struct args *args, enum arg_option option, uint64_t *out_ms);
bool args_take_unsigned(struct args *args, enum arg_option option, uint64_t *out_number);
bool args_take_signed(struct args *args, enum arg_option option, int64_t *out_number);
bool args_take_durability(struct args *args, enum brd_durability *out_durability);

#endif
