/* Statuses: the same numbers and names in the header, the library and the schema. */
#include <brindle.h>

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "brindle.pb-c.h"

START_TEST(every_status_of_the_schema_has_its_name_here)
{
    unsigned i;

    for (i = 0; i < brindle__v1__status__descriptor.n_values; i++) {
        const ProtobufCEnumValue *value = &brindle__v1__status__descriptor.values[i];

        ck_assert_str_eq(brd_status_name((enum brd_status)value->value), value->name);
        ck_assert_str_ne(brd_status_text((enum brd_status)value->value),
                         brd_status_text((enum brd_status)9999));
    }
}
END_TEST

START_TEST(every_name_here_is_in_the_schema)
{
    int number;

    for (number = 0; number < 1000; number++) {
        const char *name = brd_status_name((enum brd_status)number);

        if (strcmp(name, "UNKNOWN_STATUS") == 0)
            continue;
        ck_assert_ptr_nonnull(
            protobuf_c_enum_descriptor_get_value(&brindle__v1__status__descriptor, number));
    }
}
END_TEST

START_TEST(outcomes_are_neither_success_nor_failure)
{
    ck_assert(!brd_status_is_outcome(BRD_OK));
    ck_assert(brd_status_is_outcome(BRD_NOT_FOUND));
    ck_assert(brd_status_is_outcome(BRD_VALUE_MISMATCH));
    ck_assert(!brd_status_is_outcome(BRD_INVALID_ARGUMENT));
    ck_assert(!brd_status_is_outcome(BRD_STATUS_UNREPRESENTABLE));
}
END_TEST

START_TEST(only_what_has_certainly_not_run_is_temporary)
{
    ck_assert(brd_status_is_temporary(BRD_BUSY));
    ck_assert(brd_status_is_temporary(BRD_CONNECTION_FAILED));
    ck_assert(!brd_status_is_temporary(BRD_UNKNOWN_RESULT));
    ck_assert(!brd_status_is_temporary(BRD_OK));
    ck_assert(!brd_status_is_temporary(BRD_NOT_FOUND));
    ck_assert(!brd_status_is_temporary((enum brd_status)9999));
}
END_TEST

START_TEST(durability_and_condition_have_the_numbers_of_the_schema)
{
    ck_assert_int_eq(BRD_DURABILITY_DEFAULT, BRINDLE__V1__DURABILITY__DURABILITY_DEFAULT);
    ck_assert_int_eq(BRD_DURABILITY_NONE, BRINDLE__V1__DURABILITY__DURABILITY_NONE);
    ck_assert_int_eq(BRD_DURABILITY_ASYNC, BRINDLE__V1__DURABILITY__DURABILITY_ASYNC);
    ck_assert_int_eq(BRD_DURABILITY_NORMAL, BRINDLE__V1__DURABILITY__DURABILITY_NORMAL);
    ck_assert_int_eq(BRD_DURABILITY_FULL, BRINDLE__V1__DURABILITY__DURABILITY_FULL);
    ck_assert_int_eq(BRD_ALWAYS, BRINDLE__V1__CONDITION__ALWAYS);
    ck_assert_int_eq(BRD_IF_ABSENT, BRINDLE__V1__CONDITION__IF_ABSENT);
    ck_assert_int_eq(BRD_IF_PRESENT, BRINDLE__V1__CONDITION__IF_PRESENT);
    ck_assert_int_eq(BRD_IF_VERSION, BRINDLE__V1__CONDITION__IF_VERSION);
}
END_TEST

START_TEST(the_header_has_the_version_of_the_build)
{
    char text[32];

    snprintf(text, sizeof(text), "%d.%d.%d", BRD_VERSION_MAJOR, BRD_VERSION_MINOR,
             BRD_VERSION_PATCH);
    ck_assert_str_eq(text, BRD_VERSION_STRING);
    ck_assert_str_eq(BRD_VERSION_STRING, BRINDLE_VERSION);
    ck_assert_str_eq(brd_library_version(), BRINDLE_VERSION);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("client status");
    TCase *tcase = tcase_create("status");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, every_status_of_the_schema_has_its_name_here);
    tcase_add_test(tcase, every_name_here_is_in_the_schema);
    tcase_add_test(tcase, outcomes_are_neither_success_nor_failure);
    tcase_add_test(tcase, only_what_has_certainly_not_run_is_temporary);
    tcase_add_test(tcase, durability_and_condition_have_the_numbers_of_the_schema);
    tcase_add_test(tcase, the_header_has_the_version_of_the_build);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
