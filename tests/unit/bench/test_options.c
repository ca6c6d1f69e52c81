#include "options.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 16

static struct options options;
static struct bench_error error;

/* Splits at spaces; the words live until the next call. */
static bool
parse(const char *line)
{
    static char copy[256];
    char name[] = "brindle-bench";
    char *argv[WORDS_MAX] = { name };
    int argc = 1;
    char *rest = NULL;
    ck_assert_uint_lt(strlen(line), sizeof(copy));
    memcpy(copy, line, strlen(line) + 1);
    for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    error.text[0] = '\0';
    return options_parse(&options, argc, argv, &error);
}

START_TEST(no_options_are_the_documented_defaults)
{
    ck_assert(parse(""));
    ck_assert_str_eq(options.connect, "127.0.0.1:7420");
    ck_assert_uint_eq(options.protocol, PROTOCOL_BRINDLE);
    ck_assert_uint_eq(options.threads, 1);
    ck_assert_uint_eq(options.connections, 50);
    ck_assert_uint_eq(options.depth, 1);
    ck_assert_uint_eq(options.requests, 100000);
    ck_assert_uint_eq(options.key_count, 1000000);
    ck_assert_uint_eq(options.key_size.min, 16);
    ck_assert_uint_eq(options.value_size.min, 100);
    ck_assert_double_eq(options.read_ratio, 0.9);
    ck_assert_uint_eq(options.timeout_ms, 30000);
    ck_assert_uint_eq(options.format, FORMAT_TEXT);
    ck_assert(!options.fill && !options.verify);
}
END_TEST

START_TEST(short_and_long_names_are_the_same)
{
    ck_assert(parse("-t 2 -c20 -P 5 -n 1k -d 64-128 -r 2m"));
    ck_assert_uint_eq(options.threads, 2);
    ck_assert_uint_eq(options.connections, 20);
    ck_assert_uint_eq(options.depth, 5);
    ck_assert_uint_eq(options.requests, 1000);
    ck_assert_uint_eq(options.value_size.max, 128);
    ck_assert_uint_eq(options.key_count, 2000000);
    ck_assert(
        parse("--threads=3 --connections 30 --pipeline=6 --protocol memcached --keys zipf:1.1"));
    ck_assert_uint_eq(options.threads, 3);
    ck_assert_uint_eq(options.connections, 30);
    ck_assert_uint_eq(options.depth, 6);
    ck_assert_uint_eq(options.protocol, PROTOCOL_MEMCACHED);
    ck_assert_double_eq(options.key_exponent, 1.1);
    ck_assert(parse("--rate 2.5k"));
    ck_assert_double_eq(options.rate, 2500.0);
}
END_TEST

START_TEST(durations_have_units)
{
    ck_assert(parse("--duration 500ms --ttl 2h --warmup 1.5 --timeout 2m"));
    ck_assert_uint_eq(options.duration_ms, 500);
    ck_assert_uint_eq(options.ttl_ms, 7200000);
    ck_assert_uint_eq(options.warmup_ms, 1500);
    ck_assert_uint_eq(options.timeout_ms, 120000);
    ck_assert_uint_eq(options.requests, 0); /* the duration ends it */
}
END_TEST

START_TEST(memory_has_steps_and_nothing_that_is_timed)
{
    ck_assert(parse("-d 32 memory --ttl 1h"));
    ck_assert(options.memory);
    ck_assert_uint_eq(options.from, 4000000);
    ck_assert_uint_eq(options.key_count, 8000000);
    ck_assert_uint_eq(options.steps, 17);
    ck_assert(parse("memory --from 10 --to 10 --steps 1"));
    ck_assert(!parse("memory --from 11 --to 10"));
    ck_assert(!parse("memory --from 8 --to 10 --steps 4"));
    ck_assert(!parse("memory --fill"));
    ck_assert(!parse("memory -n 5"));
    ck_assert(!parse("memory replay x"));
    ck_assert(!parse("replay x memory"));
    ck_assert(!parse("memory memory"));
}
END_TEST

START_TEST(replay_takes_a_file_and_options_on_both_sides)
{
    ck_assert(parse("-P 10 replay t.csv.xz --ttl-from-trace"));
    ck_assert_str_eq(options.trace, "t.csv.xz");
    ck_assert_uint_eq(options.depth, 10);
    ck_assert(options.ttl_from_trace);
    ck_assert_uint_eq(options.requests, 0);
    ck_assert(parse("replay -P 10 t.csv"));
    ck_assert_str_eq(options.trace, "t.csv");
    ck_assert_uint_eq(options.depth, 10);
    ck_assert(parse("replay -- --help"));
    ck_assert_str_eq(options.trace, "--help");
    ck_assert(parse("replay --help") && options.help);
    ck_assert(parse("replay -"));
    ck_assert_str_eq(options.trace, "-");
}
END_TEST

START_TEST(what_is_wrong_is_named)
{
    static const struct {
        const char *line;
        const char *why;
    } cases[] = {
        { "--nonsense", "unknown option '--nonsense'" },
        { "-x", "unknown option '-x'" },
        { "--thread 1", "unknown option '--thread'" },
        { "-t", "--threads needs a value: N" },
        { "-t x", "--threads: 'x' is no number" },
        { "-t -1", "--threads: '-1' is no number" },
        { "-t 0", "--threads: '0' is not between 1 and 256" },
        { "-n 99999999999999999999", "--requests: '99999999999999999999' is no number" },
        { "-P 65537", "--pipeline: '65537' is not between 1 and 65536" },
        { "--read-ratio 1.5", "--read-ratio: '1.5' is not between 0 and 1" },
        { "--rate 5x", "--rate: '5x' is no number" },
        { "--read-ratio 1k", "--read-ratio: '1k' is no number" },
        { "--read-ratio nan", "--read-ratio: 'nan' is no number" },
        { "--duration 5x", "--duration: '5x' is no duration: use 500ms, 30s, 5m, 1h" },
        { "--protocol http", "--protocol: 'http' is none of brindle|resp|memcached" },
        { "--format xml", "--format: 'xml' is none of text|json" },
        { "--fill=yes", "--fill takes no value" },
        { "--key-size 0", "--key-size: must be at least 1" },
        { "replay", "replay needs a file" },
        { "replay --fill", "replay needs a file" },
        { "replay a replay b", "'replay' is not understood" },
        { "go", "'go' is not understood" },
        { "-t 4 -c 2", "4 threads need at least as many connections" },
        { "--fill replay x", "replay knows neither --fill nor --warmup" },
        { "--steps 3", "only memory knows --steps" },
        { "--from 4m replay x", "only memory knows --from" },
        { "--skip-bad-lines", "only replay knows --skip-bad-lines" },
        { "--ttl-from-trace memory", "only replay knows --ttl-from-trace" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ck_assert_msg(!parse(cases[i].line), "'%s' was accepted", cases[i].line);
        ck_assert_str_eq(error.text, cases[i].why);
    }
}
END_TEST

START_TEST(help_names_every_option_and_default)
{
    static const char *const wanted[] = { "--connect ADDR",   "[127.0.0.1:7420]", "-P, --pipeline",
                                          "--ttl-from-trace", "replay FILE",      "zipf:EXPONENT" };
    char text[8192] = { 0 };
    FILE *file = fmemopen(text, sizeof(text) - 1, "w");
    options_print_help(file);
    fclose(file);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        ck_assert_msg(strstr(text, wanted[i]) != NULL, "no '%s'", wanted[i]);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("options");
    TCase *tcase = tcase_create("options");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, no_options_are_the_documented_defaults);
    tcase_add_test(tcase, short_and_long_names_are_the_same);
    tcase_add_test(tcase, durations_have_units);
    tcase_add_test(tcase, memory_has_steps_and_nothing_that_is_timed);
    tcase_add_test(tcase, replay_takes_a_file_and_options_on_both_sides);
    tcase_add_test(tcase, what_is_wrong_is_named);
    tcase_add_test(tcase, help_names_every_option_and_default);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
