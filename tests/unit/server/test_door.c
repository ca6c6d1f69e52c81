/* From the text of an address to a socket. */
#include "server/door.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[256];
static char path[300];    /* of a unix socket */
static char address[320]; /* the same as an address */
static struct doors doors;
static struct brd_server_error error;

static void
setup(void)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(dir, sizeof(dir), "%s/brindle-door.XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/s.sock", dir);
    snprintf(address, sizeof(address), "unix:%s", path);
    error.text[0] = '\0';
    doors.count = 0;
}

static void
teardown(void)
{
    doors_close(&doors);
    unlink(path);
    rmdir(dir);
}

static enum brd_status
open_doors(const char *const *listen, size_t count, bool listening)
{
    struct brd_server_options options = { .listen = listen,
                                          .listen_count = count,
                                          .socket_mode = 0640,
                                          .backlog = 16,
                                          .keepalive_idle_s = 60,
                                          .keepalive_interval_s = 10,
                                          .keepalive_count = 3,
                                          .user_timeout_ms = 30000 };
    enum brd_status status = doors_open(&doors, &options, &error);

    return status == BRD_OK && listening ? doors_listen(&doors, &options, &error) : status;
}

static enum brd_status
open_one(const char *text)
{
    return open_doors(&text, 1, true);
}

/* A socket that somebody else has; listening or not. */
static int
other_socket(bool listening)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(un.sun_path, path, strlen(path));
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    if (listening)
        ck_assert_int_eq(listen(fd, 1), 0);
    return fd;
}

START_TEST(wrong_addresses_are_refused_with_a_sentence)
{
    static const struct {
        const char *address;
        const char *sentence;
    } table[] = {
        { "", "is not HOST:PORT" },
        { "7420", "is not HOST:PORT" },
        { ":7420", "is not HOST:PORT" },
        { "::1:7420", "is not HOST:PORT" },
        { "[::1]", "is not HOST:PORT" },
        { "[::1:7420", "is not HOST:PORT" },
        { "127.0.0.1:", "the port is a number" },
        { "127.0.0.1:65536", "the port is a number" },
        { "127.0.0.1:-1", "the port is a number" },
        { "127.0.0.1:http", "the port is a number" },
        { "127.0.0.1:0x50", "the port is a number" },
        { "999.0.0.1:1", "the host is not known" },
        { "unix:", "the path of the socket is missing" },
        { "unix:/0123456789012345678901234567890123456789012345678901234567890123456789"
          "0123456789012345678901234567890123456789",
          "has at most 107 bytes" },
        { "unix:@", "abstract sockets are not supported" },
        { "unix:@/run/b", "write unix:./@/run/b for a file" },
        { "0.0.0.0:7420", "can be reached from other machines" },
        { "[::]:7420", "can be reached from other machines" },
        { "192.0.2.1:7420", "can be reached from other machines" },
    };
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        ck_assert_int_eq(brd_server_check_address(table[i].address, false, &error),
                         BRD_INVALID_ARGUMENT);
        ck_assert_msg(strstr(error.text, table[i].sentence) != NULL, "%s: %s", table[i].address,
                      error.text);
    }
}
END_TEST

START_TEST(right_addresses_are_accepted)
{
    static const char *const table[] = { "none",       "127.0.0.1:0", "127.1.2.3:65535",
                                         "[::1]:7420", "unix:/tmp/x", "unix:x",
                                         "unix:./@x",  "unix:x@" };
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        ck_assert_int_eq(brd_server_check_address(table[i], false, &error), BRD_OK);
    ck_assert_int_eq(brd_server_check_address("0.0.0.0:7420", true, &error), BRD_OK);
}
END_TEST

START_TEST(port_0_picks_one_and_says_which)
{
    ck_assert_int_eq(open_one("127.0.0.1:0"), BRD_OK);
    ck_assert_uint_eq(doors.count, 1);
    ck_assert_int_eq(strncmp(doors.door[0].text, "127.0.0.1:", 10), 0);
    ck_assert_str_ne(doors.door[0].text, "127.0.0.1:0");
}
END_TEST

START_TEST(an_address_named_twice_is_opened_once)
{
    const char *const listen[] = { address, "none", address };

    ck_assert_int_eq(open_doors(listen, 3, true), BRD_OK);
    ck_assert_uint_eq(doors.count, 1);
    ck_assert_str_eq(doors.door[0].text, address);
}
END_TEST

START_TEST(a_port_in_use_is_busy)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char text[64];

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&in, &size), 0);
    snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(in.sin_port));
    ck_assert_int_eq(open_one(text), BRD_BUSY);
    ck_assert_ptr_nonnull(strstr(error.text, "something else does already"));
    ck_assert_ptr_nonnull(strstr(error.text, text));
    close(fd);
}
END_TEST

START_TEST(connections_inherit_the_options_of_the_door)
{
    struct sockaddr_in in;
    socklen_t size = sizeof(in);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    static const struct {
        int level;
        int name;
        int value;
    } options[] = {
        { IPPROTO_TCP, TCP_NODELAY, 1 },   { SOL_SOCKET, SO_KEEPALIVE, 1 },
        { IPPROTO_TCP, TCP_KEEPIDLE, 60 }, { IPPROTO_TCP, TCP_KEEPINTVL, 10 },
        { IPPROTO_TCP, TCP_KEEPCNT, 3 },   { IPPROTO_TCP, TCP_USER_TIMEOUT, 30000 },
    };
    size_t i;
    int fd;

    ck_assert_int_eq(open_one("127.0.0.1:0"), BRD_OK);
    ck_assert_int_eq(getsockname(doors.door[0].fd, (struct sockaddr *)&in, &size), 0);
    ck_assert_int_eq(connect(client, (struct sockaddr *)&in, size), 0);
    fd = accept(doors.door[0].fd, NULL, NULL);
    ck_assert_int_ge(fd, 0);
    for (i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        int value = -1;

        size = sizeof(value);
        ck_assert_int_eq(getsockopt(fd, options[i].level, options[i].name, &value, &size), 0);
        ck_assert_int_eq(value, options[i].value);
    }
    close(fd);
    close(client);
}
END_TEST

START_TEST(a_unix_socket_has_the_mode_asked_for_and_goes_at_the_end)
{
    mode_t old = umask(077);
    struct stat st;

    ck_assert_int_eq(open_one(address), BRD_OK);
    umask(old);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0640);
    doors_close(&doors);
    ck_assert_int_eq(stat(path, &st), -1);
}
END_TEST

START_TEST(a_socket_that_its_owner_left_behind_is_replaced)
{
    close(other_socket(true));
    ck_assert_int_eq(open_one(address), BRD_OK);
    ck_assert(doors.door[0].bound_path);
}
END_TEST

START_TEST(a_socket_in_use_is_left_alone)
{
    int fd = other_socket(true);
    struct stat st;

    ck_assert_int_eq(open_one(address), BRD_BUSY);
    ck_assert_ptr_nonnull(strstr(error.text, "something else does already"));
    ck_assert_int_eq(stat(path, &st), 0);
    close(fd);
}
END_TEST

START_TEST(a_file_that_is_no_socket_is_left_alone)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    struct stat st;

    close(fd);
    ck_assert_int_eq(open_one(address), BRD_IO_ERROR);
    ck_assert_ptr_nonnull(strstr(error.text, "is no socket"));
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert(S_ISREG(st.st_mode));
}
END_TEST

START_TEST(a_path_that_somebody_replaced_is_not_removed)
{
    struct stat st;
    int fd;

    ck_assert_int_eq(open_one(address), BRD_OK);
    ck_assert_int_eq(unlink(path), 0);
    fd = other_socket(true);
    doors_close(&doors);
    ck_assert_int_eq(stat(path, &st), 0);
    close(fd);
}
END_TEST

START_TEST(a_unix_socket_appears_only_when_it_listens)
{
    const char *text = address;
    struct stat st;

    ck_assert_int_eq(open_doors(&text, 1, false), BRD_OK);
    ck_assert_int_eq(stat(path, &st), -1);
}
END_TEST

/* Runs check in a process that has inherited the socket fd as its third. */
static void
as_activated(int fd, const char *name, void (*check)(const char *expected), const char *expected)
{
    pid_t pid = fork();
    int status;

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        char text[32];

        if (fd != 3)
            dup2(fd, 3);
        snprintf(text, sizeof(text), "%d", (int)getpid());
        setenv("LISTEN_PID", text, 1);
        setenv("LISTEN_FDS", "1", 1);
        if (name != NULL)
            setenv("LISTEN_FDNAMES", name, 1);
        check(expected);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}

static enum brd_status
open_activated(const char *listen, bool is_default, bool allow_insecure)
{
    struct brd_server_options options = { .listen = &listen,
                                          .listen_count = 1,
                                          .listen_is_default = is_default,
                                          .inherit = true,
                                          .allow_insecure = allow_insecure };

    return doors_open(&doors, &options, &error);
}

static void
check_replaces_default(const char *expected)
{
    if (open_activated("127.0.0.1:7420", true, false) != BRD_OK || doors.count != 1 ||
        strcmp(doors.door[0].text, expected) != 0 || !doors.door[0].inherited)
        _exit(1);
    doors_close(&doors); /* must leave the file alone */
}

static void
check_beside_explicit(const char *expected)
{
    if (open_activated("127.0.0.1:0", false, false) != BRD_OK || doors.count != 2 ||
        strcmp(doors.door[0].text, expected) != 0 || doors.door[1].inherited)
        _exit(1);
}

static void
check_same_as_explicit(const char *expected)
{
    if (open_activated(expected, false, false) != BRD_OK || doors.count != 1)
        _exit(1);
}

static void
check_not_used(const char *expected)
{
    (void)expected;
    if (open_activated("none", false, false) != BRD_OK || doors.count != 0)
        _exit(1);
}

static void
check_insecure(const char *expected)
{
    (void)expected;
    if (open_activated("none", false, false) != BRD_INVALID_ARGUMENT ||
        strstr(error.text, "can be reached from other machines") == NULL)
        _exit(1);
}

START_TEST(inherited_sockets_are_known_by_what_they_are)
{
    struct sockaddr_in in = { .sin_family = AF_INET };
    int fd = other_socket(true);
    int datagram = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int wild = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct stat st;

    as_activated(fd, NULL, check_replaces_default, address);
    ck_assert_int_eq(stat(path, &st), 0);
    as_activated(fd, "brindle.socket", check_beside_explicit, address);
    as_activated(fd, NULL, check_same_as_explicit, address);
    as_activated(fd, "resp", check_not_used, "");
    as_activated(datagram, NULL, check_not_used, "");
    ck_assert_int_eq(bind(wild, (struct sockaddr *)&in, sizeof(in)), 0);
    ck_assert_int_eq(listen(wild, 1), 0);
    as_activated(wild, NULL, check_insecure, "");
    close(fd);
    close(datagram);
    close(wild);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("door");
    TCase *tcase = tcase_create("door");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, wrong_addresses_are_refused_with_a_sentence);
    tcase_add_test(tcase, right_addresses_are_accepted);
    tcase_add_test(tcase, port_0_picks_one_and_says_which);
    tcase_add_test(tcase, an_address_named_twice_is_opened_once);
    tcase_add_test(tcase, a_port_in_use_is_busy);
    tcase_add_test(tcase, connections_inherit_the_options_of_the_door);
    tcase_add_test(tcase, a_unix_socket_has_the_mode_asked_for_and_goes_at_the_end);
    tcase_add_test(tcase, a_socket_that_its_owner_left_behind_is_replaced);
    tcase_add_test(tcase, a_socket_in_use_is_left_alone);
    tcase_add_test(tcase, a_file_that_is_no_socket_is_left_alone);
    tcase_add_test(tcase, a_path_that_somebody_replaced_is_not_removed);
    tcase_add_test(tcase, a_unix_socket_appears_only_when_it_listens);
    tcase_add_test(tcase, inherited_sockets_are_known_by_what_they_are);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
