/* Lines to words: quoting, escapes, and lines that are none. */
#include "words.h"

#include <check.h>
#include <stdlib.h>

static struct words words;
static const char *error;

static void
split(const char *line)
{
    ck_assert_int_eq(words_split(brd_bytes_of(line), &words, &error), BRD_OK);
}

static void
expect(size_t index, const char *bytes, size_t size)
{
    ck_assert_uint_lt(index, words.count);
    ck_assert_uint_eq(words.list[index].size, size);
    ck_assert_mem_eq(words.list[index].data, bytes, size);
    ck_assert_int_eq(((const char *)words.list[index].data)[size], '\0');
}

static void
expect_refused(const char *line)
{
    error = NULL;
    ck_assert_int_eq(words_split(brd_bytes_of(line), &words, &error), BRD_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(error);
    ck_assert_uint_eq(words.count, 0);
    ck_assert_ptr_null(words.list);
}

START_TEST(blanks_separate_words)
{
    split("  get\tkey  \r\n");
    ck_assert_uint_eq(words.count, 2);
    expect(0, "get", 3);
    expect(1, "key", 3);
    words_fini(&words);
}
END_TEST

START_TEST(a_line_without_words_is_empty)
{
    split("");
    ck_assert_uint_eq(words.count, 0);
    words_fini(&words);
    split(" \t\n");
    ck_assert_uint_eq(words.count, 0);
    words_fini(&words);
    split("# get key");
    ck_assert_uint_eq(words.count, 0);
    words_fini(&words);
}
END_TEST

START_TEST(a_comment_begins_only_where_a_word_would)
{
    split("get a#b # c");
    ck_assert_uint_eq(words.count, 2);
    expect(1, "a#b", 3);
    words_fini(&words);
}
END_TEST

START_TEST(quotes_keep_blanks_and_empty_words)
{
    split("put 'a b' \"c  d\" '' \"\" x'y'\"z\"");
    ck_assert_uint_eq(words.count, 6);
    expect(1, "a b", 3);
    expect(2, "c  d", 4);
    expect(3, "", 0);
    expect(4, "", 0);
    expect(5, "xyz", 3);
    words_fini(&words);
}
END_TEST

START_TEST(escapes_stand_for_any_byte)
{
    split("\"\\n\\r\\t\\0\\\\\\\"\\x00\\xfF\" a\\ b 'raw\\n'");
    ck_assert_uint_eq(words.count, 3);
    expect(0, "\n\r\t\0\\\"\0\xff", 8);
    expect(1, "a b", 3);
    expect(2, "raw\\n", 5);
    words_fini(&words);
}
END_TEST

START_TEST(a_quote_or_escape_without_end_is_refused)
{
    expect_refused("get \"key");
    expect_refused("get 'key");
    expect_refused("get key\\");
    expect_refused("get \\x4");
    expect_refused("get \\xzz");
    expect_refused("a b c \"");
}
END_TEST

START_TEST(bytes_behind_the_line_are_not_read)
{
    /* The address sanitizer watches the end of an exact allocation. */
    static const char *const lines[] = { "a", "a\\", "a\\x", "a\\x1", "\"", "'a", "a #" };
    size_t i;

    for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        size_t size = strlen(lines[i]);
        char *exact = malloc(size);

        memcpy(exact, lines[i], size);
        (void)words_split(brd_bytes(exact, size), &words, &error);
        words_fini(&words);
        free(exact);
    }
}
END_TEST

START_TEST(more_words_than_the_maximum_are_refused)
{
    size_t size = 2 * ((size_t)WORDS_MAX + 1);
    char *line = malloc(size);
    size_t i;

    for (i = 0; i < size; i += 2) {
        line[i] = 'w';
        line[i + 1] = ' ';
    }
    ck_assert_int_eq(words_split(brd_bytes(line, size - 2), &words, &error), BRD_OK);
    ck_assert_uint_eq(words.count, WORDS_MAX);
    words_fini(&words);
    ck_assert_int_eq(words_split(brd_bytes(line, size), &words, &error), BRD_TOO_LARGE);
    free(line);
}
END_TEST

START_TEST(words_of_a_program_are_its_arguments)
{
    char *argv[] = { "put", "a b", "" };

    ck_assert_int_eq(words_from_argv(3, argv, &words), BRD_OK);
    ck_assert_uint_eq(words.count, 3);
    expect(1, "a b", 3);
    expect(2, "", 0);
    words_fini(&words);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("cli words");
    TCase *tcase = tcase_create("words");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, blanks_separate_words);
    tcase_add_test(tcase, a_line_without_words_is_empty);
    tcase_add_test(tcase, a_comment_begins_only_where_a_word_would);
    tcase_add_test(tcase, quotes_keep_blanks_and_empty_words);
    tcase_add_test(tcase, escapes_stand_for_any_byte);
    tcase_add_test(tcase, a_quote_or_escape_without_end_is_refused);
    tcase_add_test(tcase, bytes_behind_the_line_are_not_read);
    tcase_add_test(tcase, more_words_than_the_maximum_are_refused);
    tcase_add_test(tcase, words_of_a_program_are_its_arguments);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
