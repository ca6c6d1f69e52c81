#include "when.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VERSION_DIGITS 12 /* Unix seconds have fewer for the next 30 centuries */

/* Take exactly n digits from the front of *text. */
static bool
take_digits(const char **text, int n, int *out)
{
    int value = 0;
    int i;

    for (i = 0; i < n; i++) {
        char c = (*text)[i];

        if (c < '0' || c > '9')
            return false;
        value = value * 10 + (c - '0');
    }
    *text += n;
    *out = value;
    return true;
}

static bool
take_char(const char **text, const char *allowed)
{
    if (**text == '\0' || strchr(allowed, **text) == NULL)
        return false;
    ++*text;
    return true;
}

/* ".5" as ns, and nothing as 0. What is finer than a nanosecond is cut. */
static bool
take_fraction(const char **text, uint64_t *out_ns)
{
    uint64_t unit = BRD_NS_PER_S / 10;

    *out_ns = 0;
    if (!take_char(text, "."))
        return true;
    if (**text < '0' || **text > '9')
        return false;
    for (; **text >= '0' && **text <= '9'; ++*text, unit /= 10)
        *out_ns += unit * (uint64_t)(**text - '0');
    return true;
}

static bool
join(int64_t seconds, uint64_t ns, uint64_t *out_version)
{
    if (seconds < 0 || (uint64_t)seconds >= UINT64_MAX / BRD_NS_PER_S)
        return false;
    *out_version = (uint64_t)seconds * BRD_NS_PER_S + ns;
    return true;
}

/* "Z", or how far the clock of the text is ahead of UTC. */
static bool
take_zone(const char **text, int *out_seconds)
{
    bool behind = **text == '-';
    int hours;
    int minutes;

    *out_seconds = 0;
    if (take_char(text, "Zz"))
        return true;
    if (!take_char(text, "+-") || !take_digits(text, 2, &hours) || !take_char(text, ":") ||
        !take_digits(text, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *out_seconds = (hours * 60 + minutes) * (behind ? -60 : 60);
    return true;
}

static bool
parse_rfc3339(const char *text, uint64_t *out_version)
{
    struct tm tm = { 0 };
    struct tm again;
    int64_t seconds;
    uint64_t ns;
    int zone;

    if (!take_digits(&text, 4, &tm.tm_year) || !take_char(&text, "-") ||
        !take_digits(&text, 2, &tm.tm_mon) || !take_char(&text, "-") ||
        !take_digits(&text, 2, &tm.tm_mday) || !take_char(&text, "Tt ") ||
        !take_digits(&text, 2, &tm.tm_hour) || !take_char(&text, ":") ||
        !take_digits(&text, 2, &tm.tm_min) || !take_char(&text, ":") ||
        !take_digits(&text, 2, &tm.tm_sec) || !take_fraction(&text, &ns) ||
        !take_zone(&text, &zone) || *text != '\0')
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    again = tm;
    seconds = (int64_t)timegm(&again);
    /* There is no such day, or hour, if it became another one. */
    if (again.tm_mon != tm.tm_mon || again.tm_mday != tm.tm_mday || again.tm_hour != tm.tm_hour ||
        again.tm_min != tm.tm_min || again.tm_sec != tm.tm_sec)
        return false;
    return join(seconds - zone, ns, out_version);
}

bool
when_parse(const char *text, uint64_t *out_version)
{
    size_t digits = strspn(text, "0123456789");
    const char *behind = text + digits;
    uint64_t ns;

    if (digits == 4 && text[4] == '-')
        return parse_rfc3339(text, out_version);
    if (digits == 0 || digits > 20)
        return false;
    if (digits >= VERSION_DIGITS) {
        char longest[] = "18446744073709551615";

        if (text[digits] != '\0' || (digits == 20 && strcmp(text, longest) > 0))
            return false;
        *out_version = strtoull(text, NULL, 10);
        return true;
    }
    if (!take_fraction(&behind, &ns) || *behind != '\0')
        return false;
    return join((int64_t)strtoull(text, NULL, 10), ns, out_version);
}

void
when_format(uint64_t version, char out[WHEN_TEXT_BYTES])
{
    time_t seconds = (time_t)(version / BRD_NS_PER_S);
    char text[24];
    struct tm tm;

    if (gmtime_r(&seconds, &tm) == NULL ||
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        snprintf(out, WHEN_TEXT_BYTES, "%" PRIu64, version);
    else
        snprintf(out, WHEN_TEXT_BYTES, "%s.%09" PRIu64 "Z", text, version % BRD_NS_PER_S);
}
