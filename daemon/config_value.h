/* One value: from text to a number and back. Pure. */
#ifndef BRD_CONFIG_VALUE_H
#define BRD_CONFIG_VALUE_H

#include "config_options.h"

#include <stdbool.h>
#include <stddef.h>

/* A row of the table of options. */
struct config_option {
    const char *section;
    const char *key;
    enum config_type type;
    const char *initial; /* NULL: worked out later */
    const char *word;    /* NULL: none */
    uint64_t word_number;
    uint64_t least;
    uint64_t most;
    bool reload;
    const char *choices;
    const char *help;
};

/* The number that text stands for: of every type but TEXT and LIST. False where
 * it is none, or outside the option's range. */
bool config_value_parse(const struct config_option *option, const char *text, uint64_t *out_number);

/* What is allowed, as the end of a sentence that begins with "must be". */
void config_value_allowed(const struct config_option *option, char *out, size_t room);

/* The word with this place in a list with blanks between, or "". */
void config_value_choice(const char *choices, uint64_t place, char *out, size_t room);

#endif
