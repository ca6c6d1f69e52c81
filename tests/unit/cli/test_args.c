/* Options and operands, numbers and durations, and the table of verbs. */
#include "args.h"

#include <check.h>
#include <stdlib.h>

#include "verbs.h"

static struct args args;

static bool
parse(unsigned allowed, const char *line)
{
    static struct words words; /* args borrows from it until the next call */
    const char *error;

    words_fini(&words);
    args_fini(&args);
    memset(&args, 0, sizeof(args));
    ck_assert_int_eq(words_split(brd_bytes_of(line), &words, &error), BRD_OK);
    return args_parse(words.list, words.count, allowed, &args);
}

START_TEST(durations_need_a_unit)
{
    uint64_t ms;

    ck_assert(args_duration("500ms", &ms));
    ck_assert_uint_eq(ms, 500);
    ck_assert(args_duration("30s", &ms));
    ck_assert_uint_eq(ms, 30000);
    ck_assert(args_duration("5m", &ms));
    ck_assert_uint_eq(ms, 300000);
    ck_assert(args_duration("2h", &ms));
    ck_assert_uint_eq(ms, 7200000);
    ck_assert(args_duration("7d", &ms));
    ck_assert_uint_eq(ms, 604800000);
    ck_assert(args_duration("18446744073709551615ms", &ms));
    ck_assert_uint_eq(ms, UINT64_MAX);
}
END_TEST

START_TEST(what_is_no_duration_is_refused)
{
    static const char *const texts[] = {
        "",
        "5",
        "s",
        "-5s",
        "5 s",
        "5x",
        "5ss",
        "5.5s",
        "18446744073709551616ms",
        "18446744073709551615s",
        "99999999999999999999999999s",
        "0x5s",
    };
    uint64_t ms;
    size_t i;

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        ck_assert_msg(!args_duration(texts[i], &ms), "%s", texts[i]);
}
END_TEST

START_TEST(numbers_end_where_64_bits_end)
{
    uint64_t number;
    int64_t integer;

    ck_assert(args_unsigned("18446744073709551615", &number));
    ck_assert_uint_eq(number, UINT64_MAX);
    ck_assert(!args_unsigned("18446744073709551616", &number));
    ck_assert(!args_unsigned("", &number));
    ck_assert(!args_unsigned("-1", &number));
    ck_assert(!args_unsigned("1 ", &number));
    ck_assert(args_signed("-9223372036854775808", &integer));
    ck_assert_int_eq(integer, INT64_MIN);
    ck_assert(args_signed("+9223372036854775807", &integer));
    ck_assert_int_eq(integer, INT64_MAX);
    ck_assert(!args_signed("9223372036854775808", &integer));
    ck_assert(!args_signed("-9223372036854775809", &integer));
    ck_assert(!args_signed("-", &integer));
    ck_assert(!args_signed("--5", &integer));
}
END_TEST

START_TEST(options_and_operands_may_be_mixed)
{
    uint64_t ms;

    ck_assert(parse(ARG_BIT(TTL) | ARG_BIT(KEEP_TTL), "key --ttl 5s value --keep-ttl"));
    ck_assert_uint_eq(args.operand_count, 2);
    ck_assert(args.given[ARG_KEEP_TTL]);
    ck_assert(args_take_duration(&args, ARG_TTL, &ms));
    ck_assert_uint_eq(ms, 5000);
    ck_assert(parse(ARG_BIT(TTL), "--ttl=1ms key"));
    ck_assert_str_eq(args.values[ARG_TTL], "1ms");
    ck_assert_uint_eq(args.operand_count, 1);
}
END_TEST

START_TEST(negative_numbers_and_a_dash_are_operands)
{
    ck_assert(parse(0, "key -5 -"));
    ck_assert_uint_eq(args.operand_count, 3);
}
END_TEST

START_TEST(after_two_dashes_all_are_operands_and_mean_themselves)
{
    ck_assert(parse(ARG_BIT(TTL), "a -- --ttl -"));
    ck_assert_uint_eq(args.operand_count, 3);
    ck_assert_uint_eq(args.literal_from, 1);
    ck_assert(!args.given[ARG_TTL]);
}
END_TEST

START_TEST(h_is_help_before_the_first_operand_only)
{
    ck_assert(parse(ARG_BIT(HELP) | ARG_BIT(RAW), "--raw -h key"));
    ck_assert(args.given[ARG_HELP]);
    ck_assert_uint_eq(args.operand_count, 1);
    ck_assert(parse(ARG_BIT(HELP), "key -h"));
    ck_assert(!args.given[ARG_HELP]);
    ck_assert_uint_eq(args.operand_count, 2);
    ck_assert(parse(ARG_BIT(HELP), "-- -h"));
    ck_assert(!args.given[ARG_HELP]);
    ck_assert_uint_eq(args.operand_count, 1);
    ck_assert(parse(ARG_BIT(HELP) | ARG_BIT(TTL), "--ttl -h -hh"));
    ck_assert(!args.given[ARG_HELP]);
    ck_assert_str_eq(args.values[ARG_TTL], "-h");
    ck_assert_uint_eq(args.operand_count, 1);
    ck_assert(parse(0, "-h"));
    ck_assert_uint_eq(args.operand_count, 1);
}
END_TEST

START_TEST(unknown_options_and_missing_values_are_refused_with_a_reason)
{
    uint64_t number;
    enum brd_durability durability;

    ck_assert(!parse(ARG_BIT(TTL), "key --raw"));
    ck_assert_ptr_nonnull(strstr(args.error, "--raw"));
    ck_assert(!parse(ARG_BIT(TTL), "key --ttl"));
    ck_assert_ptr_nonnull(strstr(args.error, "DURATION"));
    ck_assert(!parse(ARG_BIT(RAW), "key --raw=1"));
    ck_assert(!parse(ARG_BIT(TTL), "key --tt 5s"));
    ck_assert(parse(ARG_BIT(DEADLINE) | ARG_BIT(DURABILITY), "--deadline x --durability none"));
    ck_assert(!args_take_unsigned(&args, ARG_DEADLINE, &number));
    ck_assert_ptr_nonnull(strstr(args.error, "--deadline"));
    ck_assert(!args_take_durability(&args, &durability));
    ck_assert_ptr_nonnull(strstr(args.error, "async"));
    ck_assert(parse(ARG_BIT(TTL), "--ttl 0s"));
    ck_assert(!args_take_duration(&args, ARG_TTL, &number));
}
END_TEST

START_TEST(every_verb_is_found_and_described)
{
    size_t i;

    for (i = 0; i < verb_count; i++) {
        ck_assert_ptr_eq(verb_find(verbs[i].name), &verbs[i]);
        ck_assert_ptr_nonnull(verbs[i].run);
        ck_assert_uint_gt(strlen(verbs[i].summary), 10);
        ck_assert_uint_le(verbs[i].min, verbs[i].max);
    }
    ck_assert_ptr_null(verb_find("nonsense"));
    ck_assert_ptr_null(verb_find(""));
}
END_TEST

START_TEST(mistakes_need_no_server)
{
    static const char *const lines[] = {
        "nonsense",
        "get",
        "get a b",
        "put a",
        "put a b --ttl 5s --deadline 7",
        "put a b --ttl 5s --keep-ttl",
        "put a b --if-absent --if-present",
        "put a b --if-version x",
        "put a b --durability none",
        "putmany a",
        "putmany a b c",
        "expire a",
        "expire a 5s --ttl 5s",
        "expire a 5",
        "incr a x",
        "incr a 1 --initial x",
        "help nonsense",
    };
    struct cli cli = { .address = "127.0.0.1:1" };
    struct words words;
    const char *error;
    size_t i;

    for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        ck_assert_int_eq(words_split(brd_bytes_of(lines[i]), &words, &error), BRD_OK);
        ck_assert_msg(verb_run(&cli, words.list, words.count) == OUTCOME_USAGE, "%s", lines[i]);
        words_fini(&words);
    }
    ck_assert_ptr_null(cli.client);
    cli_fini(&cli);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("cli args");
    TCase *tcase = tcase_create("args");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, durations_need_a_unit);
    tcase_add_test(tcase, what_is_no_duration_is_refused);
    tcase_add_test(tcase, numbers_end_where_64_bits_end);
    tcase_add_test(tcase, options_and_operands_may_be_mixed);
    tcase_add_test(tcase, negative_numbers_and_a_dash_are_operands);
    tcase_add_test(tcase, after_two_dashes_all_are_operands_and_mean_themselves);
    tcase_add_test(tcase, h_is_help_before_the_first_operand_only);
    tcase_add_test(tcase, unknown_options_and_missing_values_are_refused_with_a_reason);
    tcase_add_test(tcase, every_verb_is_found_and_described);
    tcase_add_test(tcase, mistakes_need_no_server);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
