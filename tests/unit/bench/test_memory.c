/* Bytes for each key: steps, what is believed, and the worst of them. */
#include "memory.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct options options;
static struct memory_result result;
static struct bench_error error;

static struct server_sample
sample(uint64_t items, uint64_t resident_bytes)
{
    return (struct server_sample){
        .has_resident = true, .resident_bytes = resident_bytes, .has_items = true, .items = items
    };
}

static void
begin(void)
{
    memset(&result, 0, sizeof(result));
    result.options = &options;
    options.from = 1000;
    options.to = 2000;
    options.steps = 5;
}

START_TEST(steps_are_even_and_end_where_they_should)
{
    begin();
    ck_assert_uint_eq(memory_keys(&options, 0), 1000);
    ck_assert_uint_eq(memory_keys(&options, 1), 1250);
    ck_assert_uint_eq(memory_keys(&options, 4), 2000);
    options.steps = 1;
    ck_assert_uint_eq(memory_keys(&options, 0), 2000);
    options.from = options.to = 7;
    ck_assert_uint_eq(memory_keys(&options, 0), 7);
}
END_TEST

START_TEST(the_worst_step_is_that_with_most_for_a_key)
{
    struct server_sample now = sample(0, 500);

    begin();
    ck_assert_ptr_null(memory_worst(&result));
    ck_assert(memory_note(&result, 0, &now, &error));
    ck_assert_uint_eq(result.empty_bytes, 500);
    now = sample(1000, 100000);
    ck_assert(memory_note(&result, 1000, &now, &error));
    now = sample(1250, 137500);
    ck_assert(memory_note(&result, 1250, &now, &error));
    now = sample(2000, 200000);
    ck_assert(memory_note(&result, 2000, &now, &error));
    ck_assert_uint_eq(result.count, 3);
    ck_assert_uint_eq(memory_worst(&result)->keys, 1250);
    ck_assert_double_eq(memory_per_key(memory_worst(&result)), 110.0);
}
END_TEST

START_TEST(a_server_that_has_other_keys_or_lost_some_is_not_believed)
{
    struct server_sample now = sample(3, 500);

    begin();
    ck_assert(!memory_note(&result, 0, &now, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "must be empty"));
    now = sample(999, 100000);
    ck_assert(!memory_note(&result, 1000, &now, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "evicts"));
    now.has_items = false;
    ck_assert(memory_note(&result, 1000, &now, &error));
    now.has_resident = false;
    ck_assert(!memory_note(&result, 1250, &now, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "does not say"));
    ck_assert_uint_eq(result.count, 1);
}
END_TEST

static char *
written(unsigned format)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);

    options.format = format;
    ck_assert(memory_write(&result, file));
    fclose(file);
    return text;
}

START_TEST(both_formats_say_the_same)
{
    struct server_sample now = sample(0, 500);
    char *text;

    begin();
    options.connect = "here";
    ck_assert(memory_note(&result, 0, &now, &error));
    now = sample(1000, 123450);
    now.has_memory = true;
    now.memory_bytes = 100000;
    ck_assert(memory_note(&result, 1000, &now, &error));
    text = written(FORMAT_TEXT);
    ck_assert_ptr_nonnull(strstr(text, "worst       123.45 bytes per key, at 1000 keys"));
    free(text);
    text = written(FORMAT_JSON);
    ck_assert_ptr_nonnull(strstr(text, "\"bytes_per_key\": 123.45"));
    ck_assert_ptr_nonnull(strstr(text, "\"mode\": \"memory\""));
    ck_assert_ptr_nonnull(strstr(text, "\"memory_bytes\": 100000"));
    free(text);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("memory");
    TCase *tcase = tcase_create("memory");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, steps_are_even_and_end_where_they_should);
    tcase_add_test(tcase, the_worst_step_is_that_with_most_for_a_key);
    tcase_add_test(tcase, a_server_that_has_other_keys_or_lost_some_is_not_believed);
    tcase_add_test(tcase, both_formats_say_the_same);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
