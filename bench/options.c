/* Options. A default is written as a user would write it and goes through the
 * same parser. */
#include "options.h"

#include "driver.h"
#include "memory.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum option_type {
    OPTION_TEXT,
    OPTION_COUNT,    /* uint64_t; k, m, g are thousands */
    OPTION_DURATION, /* uint64_t of milliseconds; ms, s, m, h; plain: seconds */
    OPTION_REAL,
    OPTION_CHOICE, /* unsigned: which of the words in `argument` */
    OPTION_SIZES,
    OPTION_PATTERN, /* key_pattern and key_exponent */
    OPTION_FLAG,
};

enum option_mode { MODE_ANY, MODE_REPLAY, MODE_MEMORY };

struct option_row {
    const char *name;
    char letter; /* 0: none */
    enum option_type type;
    size_t offset;
    const char *argument;
    const char *preset; /* NULL: zero */
    double min;
    double max;
    const char *help;
    enum option_mode mode; /* where it has a meaning */
};

#define AT(member)     offsetof(struct options, member)
#define WORKLOAD_WORDS "mixed|get|set|getmany"
#define REFILL_WORDS   "batch|each"
#define ARRIVALS_WORDS "uniform|poisson"

/* clang-format off */
static const struct option_row rows[] = {
    { "connect", 0, OPTION_TEXT, AT(connect), "ADDR", "127.0.0.1:7420", 0, 0,
      "the server: HOST:PORT, [v6]:PORT or unix:PATH" },
    { "protocol", 0, OPTION_CHOICE, AT(protocol), "brindle|resp|memcached", "brindle", 0, 0,
      "what it speaks" },
    { "threads", 't', OPTION_COUNT, AT(threads), "N", "1", 1, 256,
      "threads, each with its part of the connections" },
    { "connections", 'c', OPTION_COUNT, AT(connections), "N", "50", 1, 100000,
      "connections of all threads" },
    { "pipeline", 'P', OPTION_COUNT, AT(depth), "DEPTH", "1", 1, DRIVER_DEPTH_MAX,
      "most unanswered requests on a connection" },
    { "requests", 'n', OPTION_COUNT, AT(requests), "N", NULL, 1, 1e15,
      "requests of all threads; default 100000, no limit with --duration,\n"
      "with replay the whole trace" },
    { "duration", 0, OPTION_DURATION, AT(duration_ms), "TIME", NULL, 1, 1e10,
      "stop after so long" },
    { "warmup", 0, OPTION_DURATION, AT(warmup_ms), "TIME", NULL, 1, 1e10,
      "run so long before measuring" },
    { "fill", 0, OPTION_FLAG, AT(fill), NULL, NULL, 0, 0,
      "write every key once before measuring" },
    { "workload", 0, OPTION_CHOICE, AT(workload), WORKLOAD_WORDS, "mixed", 0, 0,
      "what is asked; mixed obeys --read-ratio" },
    { "read-ratio", 0, OPTION_REAL, AT(read_ratio), "R", "0.9", 0, 1,
      "share of reads in a mixed load, 0 to 1" },
    { "getmany", 0, OPTION_COUNT, AT(many), "N", "10", 1, CODEC_KEYS_MAX,
      "keys in one request of the workload getmany" },
    { "key-count", 'r', OPTION_COUNT, AT(key_count), "KEYS", "1m", 1, 4294967295.0,
      "how many different keys there are" },
    { "keys", 0, OPTION_PATTERN, 0, "PATTERN", "uniform", 0, 0,
      "which are asked for: uniform, seq, zipf (0.99), zipf:EXPONENT" },
    { "key-size", 0, OPTION_SIZES, AT(key_size), "SIZE", "16", 1, 0,
      "bytes of a key: N, MIN-MAX, SIZE:WEIGHT,..., or\n"
      "lognormal:MEDIAN:SIGMA[:MAX]" },
    { "value-size", 'd', OPTION_SIZES, AT(value_size), "SIZE", "100", 0, 0,
      "bytes of a value, alike; with replay of those whose size is 0" },
    { "ttl", 0, OPTION_DURATION, AT(ttl_ms), "TIME", NULL, 1, 1e13,
      "time to live of what is written" },
    { "rate", 0, OPTION_REAL, AT(rate), "N", NULL, 0.001, 1e9,
      "open loop: requests per second of all threads, whatever the\n"
      "answers do; latency counts from the intended send time" },
    { "arrivals", 0, OPTION_CHOICE, AT(arrivals), ARRIVALS_WORDS, "uniform", 0, 0,
      "when requests of the open loop are due" },
    { "refill", 0, OPTION_CHOICE, AT(refill), REFILL_WORDS, "batch", 0, 0,
      "closed loop: a new batch when the last is answered, or one\n"
      "request for each answer" },
    { "verify", 0, OPTION_FLAG, AT(verify), NULL, NULL, 0, 0,
      "check that every value read is one written under its key" },
    { "seed", 0, OPTION_COUNT, AT(seed), "N", "1", 0, 1e18,
      "of all random choices" },
    { "timeout", 0, OPTION_DURATION, AT(timeout_ms), "TIME", "30s", 1, 1e8,
      "give a silent connection up after so long" },
    { "server-pid", 0, OPTION_COUNT, AT(server_pid), "PID", NULL, 1, 4194304,
      "whose CPU time is printed; default: the server says it" },
    { "format", 0, OPTION_CHOICE, AT(format), "text|json", "text", 0, 0,
      "of the result, on standard output" },
    { "progress", 0, OPTION_CHOICE, AT(progress), "auto|yes|no", "auto", 0, 0,
      "on standard error; auto: if that is a terminal" },
    { "histogram", 0, OPTION_TEXT, AT(histogram), "FILE", NULL, 0, 0,
      "write all latencies there: lines `nanoseconds count`" },
    { "ttl-from-trace", 0, OPTION_FLAG, AT(ttl_from_trace), NULL, NULL, 0, 0,
      "replay: obey the trace's times to live",
      MODE_REPLAY },
    { "skip-bad-lines", 0, OPTION_FLAG, AT(skip_bad_lines), NULL, NULL, 0, 0,
      "replay: count lines that are not valid instead of stopping",
      MODE_REPLAY },
    { "from", 0, OPTION_COUNT, AT(from), "KEYS", "4m", 1, 4294967295.0,
      "memory: how many keys there are after the first step",
      MODE_MEMORY },
    { "to", 0, OPTION_COUNT, AT(to), "KEYS", "8m", 1, 4294967295.0,
      "memory: and after the last",
      MODE_MEMORY },
    { "steps", 0, OPTION_COUNT, AT(steps), "N", "17", 1, MEMORY_STEPS_MAX,
      "memory: how many readings, at equal distances",
      MODE_MEMORY },
    { "help", 'h', OPTION_FLAG, AT(help), NULL, NULL, 0, 0, "this text" },
    { "version", 'V', OPTION_FLAG, AT(version), NULL, NULL, 0, 0, "the version" },
};
/* clang-format on */

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

/* ---- Values ---- */

static bool
parse_count(const char *text, uint64_t *out_count)
{
    uint64_t count = 0;
    if (!isdigit((unsigned char)*text))
        return false;
    for (; isdigit((unsigned char)*text); text++) {
        if (count > UINT64_MAX / 20)
            return false;
        count = count * 10 + (uint64_t)(*text - '0');
    }
    uint64_t factor = 1;
    if (*text == 'k' || *text == 'm' || *text == 'g') {
        factor = *text == 'k' ? 1000 : *text == 'm' ? 1000000 : 1000000000;
        text++;
    }
    if (*text != '\0' || count > UINT64_MAX / factor)
        return false;
    *out_count = count * factor;
    return true;
}

static bool
parse_duration(const char *text, uint64_t *out_ms)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = { { "", 1e3 },   { "ms", 1.0 },   { "s", 1e3 },
                  { "m", 60e3 }, { "h", 3600e3 }, { "d", 86400e3 } };
    char *end = NULL;

    if (!isdigit((unsigned char)*text))
        return false;
    double number = strtod(text, &end);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].unit) == 0 && number * units[i].ms < 1e15) {
            *out_ms = (uint64_t)(number * units[i].ms + 0.5);
            return true;
        }
    }
    return false;
}

static bool
parse_choice(const char *words, const char *text, unsigned *out_choice)
{
    size_t len = strlen(text);
    for (unsigned i = 0;; i++) {
        size_t word = strcspn(words, "|");
        if (word == len && memcmp(words, text, len) == 0) {
            *out_choice = i;
            return true;
        }
        if (words[word] == '\0')
            return false;
        words += word + 1;
    }
}

static bool
out_of_range(const struct option_row *row, const char *text, struct bench_error *error)
{
    return bench_error_set(error, "--%s: '%.60s' is not between %.15g and %.15g", row->name, text,
                           row->min, row->max);
}

static bool
set_number(const struct option_row *row, void *at, const char *text, struct bench_error *error)
{
    uint64_t number = 0;
    bool is_duration = row->type == OPTION_DURATION;
    if (is_duration ? !parse_duration(text, &number) : !parse_count(text, &number))
        return bench_error_set(error, "--%s: '%.60s' is no %s", row->name, text,
                               is_duration ? "duration: use 500ms, 30s, 5m, 1h" : "number");
    if ((double)number < row->min || (double)number > row->max)
        return out_of_range(row, text, error);
    memcpy(at, &number, sizeof(number));
    return true;
}

static bool
set_real(const struct option_row *row, void *at, const char *text, struct bench_error *error)
{
    char *end = NULL;
    double real = strtod(text, &end);
    if (end != text && row->max >= 1e3 && *end != '\0' && end[1] == '\0') {
        real *= *end == 'k' ? 1e3 : *end == 'm' ? 1e6 : *end == 'g' ? 1e9 : NAN;
        end++;
    }
    if (end == text || *end != '\0' || !isfinite(real))
        return bench_error_set(error, "--%s: '%.60s' is no number", row->name, text);
    if (real < row->min || real > row->max)
        return out_of_range(row, text, error);
    memcpy(at, &real, sizeof(real));
    return true;
}

static bool
set_option(struct options *options, const struct option_row *row, const char *text,
           struct bench_error *error)
{
    void *at = (char *)options + row->offset;
    struct bench_error why;

    switch (row->type) {
    case OPTION_TEXT:
        memcpy(at, &text, sizeof(text));
        return true;
    case OPTION_COUNT:
    case OPTION_DURATION:
        return set_number(row, at, text, error);
    case OPTION_REAL:
        return set_real(row, at, text, error);
    case OPTION_CHOICE:
        if (!parse_choice(row->argument, text, at))
            return bench_error_set(error, "--%s: '%.60s' is none of %s", row->name, text,
                                   row->argument);
        return true;
    case OPTION_SIZES:
        if (!sizes_parse(at, text, &why))
            return bench_error_set(error, "--%s: %.250s", row->name, why.text);
        if (((struct sizes *)at)->min < row->min)
            return bench_error_set(error, "--%s: must be at least %.0f", row->name, row->min);
        return true;
    case OPTION_PATTERN:
        if (!keys_parse_pattern(text, &options->key_pattern, &options->key_exponent, &why))
            return bench_error_set(error, "--%s: %.250s", row->name, why.text);
        return true;
    case OPTION_FLAG:
        *(bool *)at = true;
        return true;
    }
    return false;
}

/* ---- Words ---- */

static const struct option_row *
find_name(const char *name, size_t len)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0)
            return &rows[i];
    }
    return NULL;
}

static const struct option_row *
find_letter(char letter)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (rows[i].letter != 0 && rows[i].letter == letter)
            return &rows[i];
    }
    return NULL;
}

/* One option at argv[*at], with its argument; moves *at behind it. */
static bool
parse_option(struct options *options, int argc, char **argv, int *at, struct bench_error *error)
{
    const char *word = argv[*at];
    const char *value = NULL;
    const struct option_row *row;

    if (word[1] == '-') {
        size_t len = strcspn(word + 2, "=");
        row = find_name(word + 2, len);
        if (word[2 + len] == '=')
            value = word + 3 + len;
    } else {
        row = find_letter(word[1]);
        if (word[2] != '\0')
            value = word + 2;
    }
    (*at)++;
    if (row == NULL)
        return bench_error_set(error, "unknown option '%.60s'", word);
    if (row->mode == MODE_REPLAY)
        options->replay_only = row->name;
    if (row->mode == MODE_MEMORY)
        options->memory_only = row->name;
    if (row->type == OPTION_FLAG) {
        if (value != NULL)
            return bench_error_set(error, "--%s takes no value", row->name);
        return set_option(options, row, NULL, error);
    }
    if (value == NULL) {
        if (*at == argc)
            return bench_error_set(error, "--%s needs a value: %s", row->name, row->argument);
        value = argv[(*at)++];
    }
    return set_option(options, row, value, error);
}

static bool
parse_word(struct options *options, char **argv, int *at, struct bench_error *error)
{
    const char *word = argv[(*at)++];

    if (options->replay && options->trace == NULL) {
        options->trace = word;
        return true;
    }
    if (!options->replay && !options->memory && strcmp(word, "replay") == 0) {
        options->replay = true;
        return true;
    }
    if (!options->replay && !options->memory && strcmp(word, "memory") == 0) {
        options->memory = true;
        return true;
    }
    return bench_error_set(error, "'%.60s' is not understood", word);
}

static bool
check_together(struct options *options, struct bench_error *error)
{
    if (options->threads > options->connections)
        return bench_error_set(error, "%llu threads need at least as many connections",
                               (unsigned long long)options->threads);
    if (options->replay && options->trace == NULL)
        return bench_error_set(error, "replay needs a file");
    if (options->replay_only != NULL && options->trace == NULL)
        return bench_error_set(error, "only replay knows --%s", options->replay_only);
    if (options->memory_only != NULL && !options->memory)
        return bench_error_set(error, "only memory knows --%s", options->memory_only);
    if (options->memory && options->from > options->to)
        return bench_error_set(error, "--from must not be above --to");
    if (options->memory && options->steps > options->to - options->from + 1)
        return bench_error_set(error, "--steps: there are not so many counts from --from to --to");
    if (options->memory &&
        (options->fill || options->warmup_ms != 0 || options->duration_ms != 0 ||
         options->requests != 0 || options->rate > 0.0 || options->histogram != NULL))
        return bench_error_set(error, "memory writes every key once: it knows neither --fill, "
                                      "--warmup, --duration, --requests, --rate nor --histogram");
    if (options->memory)
        options->key_count = options->to;
    if (options->requests == 0 && options->duration_ms == 0 && options->trace == NULL)
        options->requests = 100000;
    if (options->trace != NULL && (options->fill || options->warmup_ms != 0))
        return bench_error_set(error, "replay knows neither --fill nor --warmup");
    if (options->trace != NULL && options->requests > UINT32_MAX)
        return bench_error_set(error, "replay takes at most %u requests", UINT32_MAX);
    return true;
}

bool
options_parse(struct options *options, int argc, char **argv, struct bench_error *error)
{
    bool only_words = false;

    memset(options, 0, sizeof(*options));
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (rows[i].preset != NULL && !set_option(options, &rows[i], rows[i].preset, error))
            return false;
    }
    for (int at = 1; at < argc;) {
        if (!only_words && strcmp(argv[at], "--") == 0) {
            only_words = true;
            at++;
        } else if (!only_words && argv[at][0] == '-' && argv[at][1] != '\0') {
            if (!parse_option(options, argc, argv, &at, error))
                return false;
        } else if (!parse_word(options, argv, &at, error)) {
            return false;
        }
    }
    return options->help || options->version || check_together(options, error);
}

/* ---- Words for people ---- */

static void
print_row(FILE *file, const struct option_row *row)
{
    char left[64];
    int len =
        snprintf(left, sizeof(left), "  %c%c%c --%s%s%s", row->letter != 0 ? '-' : ' ',
                 row->letter != 0 ? row->letter : ' ', row->letter != 0 ? ',' : ' ', row->name,
                 row->argument != NULL ? " " : "", row->argument != NULL ? row->argument : "");
    fprintf(file, "%-28s", left);
    if (len > 27)
        fprintf(file, "\n%28s", "");
    for (const char *p = row->help; *p != '\0'; p++) {
        fputc(*p, file);
        if (*p == '\n')
            fprintf(file, "%28s", "");
    }
    if (row->preset != NULL)
        fprintf(file, " [%s]", row->preset);
    fputc('\n', file);
}

void
options_print_help(FILE *file)
{
    fputs("usage: brindle-bench [OPTION]...              made-up load\n"
          "       brindle-bench [OPTION]... replay FILE  a trace: CSV or .xz, - is stdin\n"
          "       brindle-bench [OPTION]... memory       bytes of the server for each key\n\n",
          file);
    for (size_t i = 0; i < ROW_COUNT; i++)
        print_row(file, &rows[i]);
    fputs("\nNumbers may end in k, m, g (thousands), sizes in k, m (1024).\n"
          "Exit status: 0 no errors, 1 errors, 64 wrong usage. See brindle-bench(1).\n",
          file);
}

static const char *
choice_word(const char *const *words, size_t count, unsigned choice)
{
    BENCH_CHECK(choice < count);
    return words[choice];
}

const char *
options_workload_name(unsigned workload)
{
    static const char *const words[] = { "mixed", "get", "set", "getmany" };
    return choice_word(words, 4, workload);
}

const char *
options_refill_name(unsigned refill)
{
    static const char *const words[] = { "batch", "each" };
    return choice_word(words, 2, refill);
}

const char *
options_arrivals_name(unsigned arrivals)
{
    static const char *const words[] = { "uniform", "poisson" };
    return choice_word(words, 2, arrivals);
}
