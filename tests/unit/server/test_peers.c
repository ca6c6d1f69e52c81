#include "server/peers.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

static struct peers *peers;

static void
setup(void)
{
    peers = peers_create();
    ck_assert_ptr_nonnull(peers);
}

static void
teardown(void)
{
    peers_destroy(&peers);
}

static struct peer
peer(const char *text)
{
    struct sockaddr_storage storage = { 0 };
    struct sockaddr_in *v4 = (struct sockaddr_in *)&storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&storage;

    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        storage.ss_family = AF_INET;
    } else {
        ck_assert_int_eq(inet_pton(AF_INET6, text, &v6->sin6_addr), 1);
        storage.ss_family = AF_INET6;
    }
    return peer_of(&storage);
}

START_TEST(an_address_has_at_most_as_many_connections_as_it_may)
{
    struct peer a = peer("10.1.2.3");
    struct peer b = peer("10.1.2.4");
    int i;

    for (i = 0; i < 3; i++)
        ck_assert_int_eq(peers_add(peers, &a, 3), BRD_OK);
    ck_assert_int_eq(peers_add(peers, &a, 3), BRD_LIMIT_EXCEEDED);
    ck_assert_int_eq(peers_add(peers, &b, 3), BRD_OK);
    peers_remove(peers, &a);
    ck_assert_int_eq(peers_add(peers, &a, 3), BRD_OK);
    ck_assert_int_eq(peers_add(peers, &a, 3), BRD_LIMIT_EXCEEDED);
    ck_assert_int_eq(peers_add(peers, &a, 0), BRD_OK); /* no limit */
}
END_TEST

START_TEST(loopback_and_unix_sockets_are_not_counted)
{
    static const char *const texts[] = { "127.0.0.1", "127.200.1.1", "::1", "::ffff:127.0.0.1" };
    struct sockaddr_storage local = { .ss_family = AF_UNIX };
    struct peer p = peer_of(&local);
    size_t i;

    ck_assert(!peer_is_counted(&p));
    for (i = 0; i < 4; i++) {
        p = peer(texts[i]);
        ck_assert(!peer_is_counted(&p));
        ck_assert_int_eq(peers_add(peers, &p, 1), BRD_OK);
        ck_assert_int_eq(peers_add(peers, &p, 1), BRD_OK);
        peers_remove(peers, &p);
        peers_remove(peers, &p);
    }
    p = peer("2001:db8::1");
    ck_assert(peer_is_counted(&p));
}
END_TEST

START_TEST(an_address_is_the_same_as_ipv4_and_mapped_into_ipv6)
{
    struct peer v4 = peer("192.0.2.9");
    struct peer v6 = peer("::ffff:192.0.2.9");

    ck_assert_mem_eq(&v4, &v6, sizeof(v4));
}
END_TEST

START_TEST(thousands_of_addresses_come_and_go)
{
    char text[32];
    struct peer p;
    unsigned i;

    for (i = 0; i < 5000; i++) {
        snprintf(text, sizeof(text), "10.0.%u.%u", i / 250, i % 250);
        p = peer(text);
        ck_assert_int_eq(peers_add(peers, &p, 1), BRD_OK);
        ck_assert_int_eq(peers_add(peers, &p, 1), BRD_LIMIT_EXCEEDED);
    }
    for (i = 0; i < 5000; i += 2) {
        snprintf(text, sizeof(text), "10.0.%u.%u", i / 250, i % 250);
        p = peer(text);
        peers_remove(peers, &p);
        ck_assert_int_eq(peers_add(peers, &p, 1), BRD_OK);
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("peers");
    TCase *tcase = tcase_create("peers");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, an_address_has_at_most_as_many_connections_as_it_may);
    tcase_add_test(tcase, loopback_and_unix_sockets_are_not_counted);
    tcase_add_test(tcase, an_address_is_the_same_as_ipv4_and_mapped_into_ipv6);
    tcase_add_test(tcase, thousands_of_addresses_come_and_go);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
