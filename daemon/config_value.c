#include "config_value.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* The first of equal factor is how it is printed. */
static const struct unit size_units[] = {
    { "tb", CONFIG_TB },
    { "gb", CONFIG_GB },
    { "mb", CONFIG_MB },
    { "kb", CONFIG_KB },
    { "", 1 },
    { "b", 1 },
    { "k", CONFIG_KB },
    { "m", CONFIG_MB },
    { "g", CONFIG_GB },
    { "t", CONFIG_TB },
    { "kib", CONFIG_KB },
    { "mib", CONFIG_MB },
    { "gib", CONFIG_GB },
    { "tib", CONFIG_TB },
    { NULL, 0 },
};

static const struct unit time_units[] = {
    { "h", 3600 * BRD_NS_PER_S },  { "min", 60 * BRD_NS_PER_S }, { "s", BRD_NS_PER_S },
    { "ms", BRD_NS_PER_MS },       { "us", BRD_NS_PER_US },      { "ns", 1 },
    { "d", 86400 * BRD_NS_PER_S }, { "m", 60 * BRD_NS_PER_S },   { NULL, 0 },
};

/* Digits at the front of text; moves it behind them. */
static bool
take_digits(const char **text, unsigned base, uint64_t *out)
{
    const char *p = *text;
    uint64_t value = 0;

    for (; *p >= '0' && *p < (char)('0' + base); p++)
        if (__builtin_mul_overflow(value, (uint64_t)base, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
            return false;
    if (p == *text)
        return false;
    *text = p;
    *out = value;
    return true;
}

static bool
parse_with_unit(const char *text, const struct unit *units, uint64_t *out)
{
    uint64_t value;

    if (!take_digits(&text, 10, &value))
        return false;
    while (*text == ' ')
        text++;
    if (value == 0 && *text == '\0') {
        *out = 0; /* of whatever */
        return true;
    }
    for (; units->name != NULL; units++)
        if (strcasecmp(text, units->name) == 0)
            return !__builtin_mul_overflow(value, units->factor, out);
    return false;
}

static bool
parse_bool(const char *text, uint64_t *out)
{
    static const char *const words[] = { "no", "yes", "off", "on", "false", "true" };
    size_t i;

    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(text, words[i]) == 0) {
            *out = i & 1;
            return true;
        }
    }
    return false;
}

static bool
parse_choice(const char *choices, const char *text, uint64_t *out)
{
    size_t length = strlen(text);
    uint64_t place = 0;

    while (*choices != '\0') {
        size_t word = strcspn(choices, " ");

        if (word == length && memcmp(choices, text, length) == 0) {
            *out = place;
            return true;
        }
        choices += word + strspn(choices + word, " ");
        place++;
    }
    return false;
}

bool
config_value_parse(const struct config_option *option, const char *text, uint64_t *out_number)
{
    uint64_t number = 0;
    bool good = false;

    if (option->word != NULL && strcmp(text, option->word) == 0) {
        *out_number = option->word_number;
        return true;
    }
    if (option->type == CONFIG_SIZE && option->choices != NULL &&
        strcmp(text, option->choices) == 0) {
        *out_number = 0;
        return true;
    }
    switch (option->type) {
    case CONFIG_TEXT:
    case CONFIG_LIST:
        return false;
    case CONFIG_BOOL:
        good = parse_bool(text, &number);
        break;
    case CONFIG_NUMBER:
        good = take_digits(&text, 10, &number) && *text == '\0';
        break;
    case CONFIG_MODE:
        good = take_digits(&text, 8, &number) && *text == '\0';
        break;
    case CONFIG_SIZE:
        good = parse_with_unit(text, size_units, &number);
        break;
    case CONFIG_TIME:
        good = parse_with_unit(text, time_units, &number);
        break;
    case CONFIG_CHOICE:
        if (!parse_choice(option->choices, text, out_number))
            return false;
        return true;
    }
    /* Where a word stands for 0, the number 0 means the same. */
    if (good && number == 0 && option->word != NULL && option->word_number == 0) {
        *out_number = 0;
        return true;
    }
    if (!good || number < option->least || number > option->most)
        return false;
    *out_number = number;
    return true;
}

void
config_value_choice(const char *choices, uint64_t place, char *out, size_t room)
{
    while (place > 0 && *choices != '\0') {
        size_t word = strcspn(choices, " ");

        choices += word + strspn(choices + word, " ");
        place--;
    }
    snprintf(out, room, "%.*s", (int)strcspn(choices, " "), choices);
}

static void
format_unit(uint64_t number, const struct unit *units, char *out, size_t room)
{
    for (; units->name != NULL; units++) {
        if (number >= units->factor && number % units->factor == 0) {
            snprintf(out, room, "%llu%s", (unsigned long long)(number / units->factor),
                     units->name);
            return;
        }
    }
    snprintf(out, room, "%llu", (unsigned long long)number);
}

static void
format(const struct config_option *option, uint64_t number, char *out, size_t room)
{
    switch (option->type) {
    case CONFIG_SIZE:
        format_unit(number, size_units, out, room);
        break;
    case CONFIG_TIME:
        format_unit(number, time_units, out, room);
        break;
    case CONFIG_MODE:
        snprintf(out, room, "%04llo", (unsigned long long)number);
        break;
    default:
        snprintf(out, room, "%llu", (unsigned long long)number);
        break;
    }
}

void
config_value_allowed(const struct config_option *option, char *out, size_t room)
{
    const char *what = option->type == CONFIG_SIZE   ? "a size such as 64kb, 512mb or 2gb"
                       : option->type == CONFIG_TIME ? "a time such as 100ms, 30s, 5min or 1h"
                       : option->type == CONFIG_MODE ? "permissions in octal"
                                                     : "a number";
    char least[32];
    char most[32];
    size_t used;

    if (option->type == CONFIG_BOOL) {
        snprintf(out, room, "yes or no");
        return;
    }
    if (option->type == CONFIG_CHOICE) {
        snprintf(out, room, "one of: %s", option->choices);
        return;
    }
    format(option, option->least, least, sizeof(least));
    format(option, option->most, most, sizeof(most));
    if (option->most == CONFIG_NO_MAX)
        used =
            (size_t)snprintf(out, room, option->least > 1 ? "%s, at least %s" : "%s", what, least);
    else
        used = (size_t)snprintf(out, room, "%s from %s to %s", what, least, most);
    if (option->word == NULL || used >= room)
        return;
    if (option->choices != NULL)
        snprintf(out + used, room - used, ", %s or %s", option->word, option->choices);
    else
        snprintf(out + used, room - used, ", or %s", option->word);
}
