/* Options of verbs: see args.h. */
#include "args.h"

#include <stdio.h>
#include <stdlib.h>

const struct arg_option_info arg_options[ARG_OPTION_COUNT] = {
#define ARG_OPTION_INFO(name, text, takes, help) { text, takes, help },
    ARG_OPTIONS(ARG_OPTION_INFO)
#undef ARG_OPTION_INFO
};

/* ---- Numbers ------------------------------------------------------------ */

bool
args_unsigned(const char *text, uint64_t *out_number)
{
    uint64_t number = 0;
    const char *at;

    for (at = text; *at >= '0' && *at <= '9'; at++) {
        unsigned digit = (unsigned)(*at - '0');

        if (number > (UINT64_MAX - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    if (at == text || *at != '\0')
        return false;
    *out_number = number;
    return true;
}

bool
args_signed(const char *text, int64_t *out_number)
{
    bool negative = text[0] == '-';
    uint64_t magnitude;

    if (text[0] == '-' || text[0] == '+')
        text++;
    if (!args_unsigned(text, &magnitude) || magnitude > (uint64_t)INT64_MAX + negative)
        return false;
    *out_number = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

bool
args_duration(const char *text, uint64_t *out_ms)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = { { "ms", 1 },
                  { "s", 1000 },
                  { "m", 60 * 1000 },
                  { "h", 60 * 60 * 1000 },
                  { "d", 24 * 60 * 60 * 1000 } };
    char digits[21];
    size_t size = strspn(text, "0123456789");
    uint64_t number;
    size_t i;

    if (size == 0 || size >= sizeof(digits))
        return false;
    memcpy(digits, text, size);
    digits[size] = '\0';
    if (!args_unsigned(digits, &number))
        return false;
    for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(text + size, units[i].unit) == 0 && number <= UINT64_MAX / units[i].ms) {
            *out_ms = number * units[i].ms;
            return true;
        }
    }
    return false;
}

/* ---- Options ------------------------------------------------------------ */

/* The option of this name among those allowed, or ARG_OPTION_COUNT. */
static enum arg_option
find_option(const char *name, size_t size, unsigned allowed)
{
    unsigned i;

    for (i = 0; i < ARG_OPTION_COUNT; i++) {
        if ((allowed & 1u << i) != 0 && strlen(arg_options[i].name) == size &&
            memcmp(arg_options[i].name, name, size) == 0)
            break;
    }
    return (enum arg_option)i;
}

static bool
is_word(struct brd_bytes word, const char *text)
{
    return word.size == strlen(text) && memcmp(word.data, text, word.size) == 0;
}

/* words[*at] begins with --; take it, and the next word if that is its value. */
static bool
take_option(const struct brd_bytes *words, size_t count, size_t *at, unsigned allowed,
            struct args *args)
{
    const char *name = (const char *)words[*at].data + 2;
    const char *equals = strchr(name, '=');
    size_t size = equals == NULL ? strlen(name) : (size_t)(equals - name);
    enum arg_option option = find_option(name, size, allowed);

    if (option == ARG_OPTION_COUNT) {
        snprintf(args->error, sizeof(args->error), "there is no option --%.*s here",
                 size > 60 ? 60 : (int)size, name);
        return false;
    }
    args->given[option] = true;
    if (arg_options[option].takes == NULL) {
        if (equals != NULL)
            snprintf(args->error, sizeof(args->error), "--%s takes no value",
                     arg_options[option].name);
        return equals == NULL;
    }
    if (equals != NULL) {
        args->values[option] = equals + 1;
        return true;
    }
    if (*at + 1 == count) {
        snprintf(args->error, sizeof(args->error), "--%s needs a %s", arg_options[option].name,
                 arg_options[option].takes);
        return false;
    }
    args->values[option] = words[++*at].data;
    return true;
}

bool
args_parse(const struct brd_bytes *words, size_t count, unsigned allowed, struct args *args)
{
    bool options = true; /* still recognised */
    size_t i;

    args->operands = calloc(count + 1, sizeof(*args->operands));
    if (args->operands == NULL) {
        snprintf(args->error, sizeof(args->error), "out of memory");
        return false;
    }
    args->literal_from = SIZE_MAX;
    for (i = 0; i < count; i++) {
        if (options && is_word(words[i], "--")) {
            options = false;
            args->literal_from = args->operand_count;
        } else if (options && words[i].size > 2 && memcmp(words[i].data, "--", 2) == 0) {
            if (!take_option(words, count, &i, allowed, args))
                return false;
        } else if (options && args->operand_count == 0 && (allowed & ARG_BIT(HELP)) != 0 &&
                   is_word(words[i], "-h")) {
            args->given[ARG_HELP] = true;
        } else {
            args->operands[args->operand_count++] = words[i];
        }
    }
    return true;
}

void
args_fini(struct args *args)
{
    free(args->operands);
    args->operands = NULL;
}

static bool
refuse(struct args *args, enum arg_option option, const char *wanted)
{
    snprintf(args->error, sizeof(args->error), "--%s takes %s", arg_options[option].name, wanted);
    return false;
}

bool
args_take_duration(struct args *args, enum arg_option option, uint64_t *out_ms)
{
    *out_ms = 0;
    if (!args->given[option])
        return true;
    return (args_duration(args->values[option], out_ms) && *out_ms != 0) ||
           refuse(args, option, "a time such as 500ms, 30s, 5m, 2h or 7d, above 0");
}

bool
args_take_unsigned(struct args *args, enum arg_option option, uint64_t *out_number)
{
    *out_number = 0;
    return !args->given[option] || args_unsigned(args->values[option], out_number) ||
           refuse(args, option, "a number, 0 or above");
}

bool
args_take_signed(struct args *args, enum arg_option option, int64_t *out_number)
{
    *out_number = 0;
    return !args->given[option] || args_signed(args->values[option], out_number) ||
           refuse(args, option, "an integer");
}

bool
args_take_durability(struct args *args, enum brd_durability *out_durability)
{
    static const struct {
        const char *name;
        enum brd_durability class;
    } classes[] = { { "default", BRD_DURABILITY_DEFAULT },
                    { "async", BRD_DURABILITY_ASYNC },
                    { "normal", BRD_DURABILITY_NORMAL },
                    { "full", BRD_DURABILITY_FULL } };
    size_t i;

    *out_durability = BRD_DURABILITY_DEFAULT;
    if (!args->given[ARG_DURABILITY])
        return true;
    for (i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        if (strcmp(classes[i].name, args->values[ARG_DURABILITY]) == 0) {
            *out_durability = classes[i].class;
            return true;
        }
    }
    return refuse(args, ARG_DURABILITY, "default, async, normal or full");
}
