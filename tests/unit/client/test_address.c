/* Addresses: what is one, what is refused and why. */
#include "address.h"

#include <check.h>
#include <stdlib.h>

static struct address address;
static const char *why;

static void
expect_tcp(const char *text, const char *host, const char *port)
{
    ck_assert_int_eq(address_parse(text, &address, &why), BRD_OK);
    ck_assert(!address.is_unix);
    ck_assert_str_eq(address.host, host);
    ck_assert_str_eq(address.port, port);
}

static void
expect_refused(const char *text)
{
    why = NULL;
    ck_assert_int_eq(address_parse(text, &address, &why), BRD_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(why);
}

START_TEST(hosts_and_ports_are_taken_apart)
{
    expect_tcp("127.0.0.1:7420", "127.0.0.1", "7420");
    expect_tcp("example.org:1", "example.org", "1");
    expect_tcp("[::1]:65535", "::1", "65535");
    expect_tcp("[fe80::1%eth0]:7420", "fe80::1%eth0", "7420");
}
END_TEST

START_TEST(a_path_is_a_unix_socket)
{
    ck_assert_int_eq(address_parse("unix:/run/b.sock", &address, &why), BRD_OK);
    ck_assert(address.is_unix);
    ck_assert_str_eq(address.host, "/run/b.sock");
    ck_assert_str_eq(address.text, "unix:/run/b.sock");
}
END_TEST

START_TEST(an_abstract_socket_is_refused_and_a_file_of_that_name_is_not)
{
    expect_refused("unix:@");
    expect_refused("unix:@b.sock");
    ck_assert_ptr_nonnull(strstr(why, "write unix:./@NAME"));
    ck_assert_int_eq(address_parse("unix:./@b.sock", &address, &why), BRD_OK);
    ck_assert_str_eq(address.host, "./@b.sock");
}
END_TEST

START_TEST(what_is_no_address_is_refused)
{
    char longer[2000];
    char path[200];

    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    memset(path, 'p', sizeof(path));
    memcpy(path, "unix:", 5);
    path[sizeof(path) - 1] = '\0';

    expect_refused("localhost");
    expect_refused(":7420");
    expect_refused("host:");
    expect_refused("host:0");
    expect_refused("host:65536");
    expect_refused("host:99999999999999999999");
    expect_refused("host:74x0");
    expect_refused("host:-1");
    expect_refused("::1:7420");
    expect_refused("[::1]");
    expect_refused("[::1]7420");
    expect_refused("[::1:7420");
    expect_refused("[]:7420");
    expect_refused("unix:");
    expect_refused(longer);
    expect_refused(path);
}
END_TEST

START_TEST(without_an_address_the_environment_is_asked_then_the_default_holds)
{
    setenv(BRD_ADDRESS_VARIABLE, "elsewhere:1234", 1);
    expect_tcp(NULL, "elsewhere", "1234");
    setenv(BRD_ADDRESS_VARIABLE, "", 1);
    expect_tcp(NULL, "127.0.0.1", "7420");
    unsetenv(BRD_ADDRESS_VARIABLE);
    expect_tcp(NULL, "127.0.0.1", "7420");
}
END_TEST

START_TEST(the_environment_is_checked_like_everything_else)
{
    setenv(BRD_ADDRESS_VARIABLE, "nonsense", 1);
    expect_refused(NULL);
    unsetenv(BRD_ADDRESS_VARIABLE);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("client address");
    TCase *tcase = tcase_create("address");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, hosts_and_ports_are_taken_apart);
    tcase_add_test(tcase, a_path_is_a_unix_socket);
    tcase_add_test(tcase, an_abstract_socket_is_refused_and_a_file_of_that_name_is_not);
    tcase_add_test(tcase, what_is_no_address_is_refused);
    tcase_add_test(tcase, without_an_address_the_environment_is_asked_then_the_default_holds);
    tcase_add_test(tcase, the_environment_is_checked_like_everything_else);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
