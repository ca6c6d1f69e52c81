/* TSAN */
#include "server/mailbox.h"

#include "base/thread.h"

#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

static struct mailbox mailbox;

static void
setup(void)
{
    ck_assert_int_eq(mailbox_init(&mailbox), BRD_OK);
}

static void
teardown(void)
{
    mailbox_fini(&mailbox);
}

static bool
is_signalled(int timeout_ms)
{
    struct pollfd fd = { .fd = mailbox.event_fd, .events = POLLIN };

    return poll(&fd, 1, timeout_ms) == 1;
}

START_TEST(notes_of_one_kind_become_one)
{
    struct mail mail;

    ck_assert(!is_signalled(0));
    mailbox_post_note(&mailbox, NOTE_PROGRESS);
    mailbox_post_note(&mailbox, NOTE_PROGRESS);
    mailbox_post_note(&mailbox, NOTE_PING);
    ck_assert(is_signalled(0));
    mailbox_take(&mailbox, &mail);
    ck_assert_uint_eq(mail.notes, NOTE_PROGRESS | NOTE_PING);
    ck_assert_uint_eq(mail.count, 0);
    mailbox_mail_fini(&mail);
    ck_assert(!is_signalled(0));
    mailbox_take(&mailbox, &mail);
    ck_assert_uint_eq(mail.notes, 0);
    mailbox_mail_fini(&mail);
}
END_TEST

START_TEST(an_owner_that_stops_gets_no_more_arrivals)
{
    struct arrival arrival = { .fd = open("/dev/null", O_RDONLY | O_CLOEXEC) };
    struct mail mail;

    mailbox_post_note(&mailbox, NOTE_STOP);
    ck_assert(mailbox_post_arrival(&mailbox, &arrival)); /* it will still look */
    mailbox_take(&mailbox, &mail);
    ck_assert_uint_eq(mail.count, 1);
    mailbox_mail_fini(&mail);
    ck_assert(!mailbox_post_arrival(&mailbox, &arrival));
    close(arrival.fd);
}
END_TEST

START_TEST(notes_outlive_the_arrivals)
{
    struct arrival arrival = { .fd = open("/dev/null", O_RDONLY | O_CLOEXEC) };
    struct mail mail;

    ck_assert(mailbox_post_arrival(&mailbox, &arrival));
    mailbox_post_note(&mailbox, NOTE_STOP);
    mailbox_take(&mailbox, &mail);
    ck_assert_uint_eq(mail.count, 1);
    close(mail.arrivals[0].fd);
    mailbox_mail_fini(&mail);
    ck_assert_uint_eq(mail.notes, NOTE_STOP);
}
END_TEST

START_TEST(arrivals_that_nobody_took_are_closed)
{
    struct arrival arrival = { .fd = open("/dev/null", O_RDONLY | O_CLOEXEC) };

    ck_assert(mailbox_post_arrival(&mailbox, &arrival));
    mailbox_fini(&mailbox);
    ck_assert_int_eq(fcntl(arrival.fd, F_GETFD), -1);
    setup();
}
END_TEST

#define POSTERS 4
#define POSTS   5000

static void *
post_many(void *arg)
{
    int base = *(int *)arg;
    int i;

    for (i = 0; i < POSTS; i++) {
        /* The descriptors are only numbers here: the test takes them all. */
        struct arrival arrival = { .fd = base + i };

        ck_assert(mailbox_post_arrival(&mailbox, &arrival));
        mailbox_post_note(&mailbox, i % 2 == 0 ? NOTE_PROGRESS : NOTE_PING);
    }
    return NULL;
}

START_TEST(nothing_posted_from_many_threads_is_lost_or_doubled)
{
    static bool seen[POSTERS * POSTS];
    int base[POSTERS];
    pthread_t threads[POSTERS];
    unsigned notes = 0;
    size_t count = 0;
    size_t i;

    for (i = 0; i < POSTERS; i++) {
        base[i] = (int)i * POSTS;
        ck_assert_int_eq(brd_thread_start(&threads[i], "poster", post_many, &base[i]), BRD_OK);
    }
    while (count < POSTERS * POSTS) {
        struct mail mail;

        ck_assert(is_signalled(-1));
        mailbox_take(&mailbox, &mail);
        notes |= mail.notes;
        for (i = 0; i < mail.count; i++) {
            ck_assert(!seen[mail.arrivals[i].fd]);
            seen[mail.arrivals[i].fd] = true;
        }
        count += mail.count;
        mailbox_mail_fini(&mail);
    }
    for (i = 0; i < POSTERS; i++)
        brd_thread_join(threads[i]);
    ck_assert_uint_eq(notes, NOTE_PROGRESS | NOTE_PING);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("mailbox");
    TCase *tcase = tcase_create("mailbox");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, notes_of_one_kind_become_one);
    tcase_add_test(tcase, an_owner_that_stops_gets_no_more_arrivals);
    tcase_add_test(tcase, notes_outlive_the_arrivals);
    tcase_add_test(tcase, arrivals_that_nobody_took_are_closed);
    tcase_add_test(tcase, nothing_posted_from_many_threads_is_lost_or_doubled);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
