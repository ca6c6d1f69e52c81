#include "host.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

static char root[300];

static void
setup(void)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(root, sizeof(root), "%s/brindle-host.XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static void
teardown(void)
{
    char command[400];

    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    ck_assert_int_eq(system(command), 0);
}

static void
put(const char *path, const char *text)
{
    char full[600];
    char *slash;
    FILE *file;

    snprintf(full, sizeof(full), "%s/%s", root, path);
    for (slash = full + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    file = fopen(full, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

START_TEST(the_smallest_limit_of_a_group_and_its_parents_counts)
{
    put("a/memory.max", "3000\n");
    put("a/b/memory.max", "max\n");
    put("a/b/c/memory.max", "5000\n");
    ck_assert_uint_eq(host_cgroup_limit(root, "0::/a/b/c\n"), 3000);
    ck_assert_uint_eq(host_cgroup_limit(root, "0::/a/b\n"), 3000);
    ck_assert_uint_eq(host_cgroup_limit(root, "0::/\n"), UINT64_MAX);
    ck_assert_uint_eq(host_cgroup_limit(root, "0::/elsewhere/x\n"), UINT64_MAX);
}
END_TEST

START_TEST(version_1_has_a_hierarchy_for_memory)
{
    put("memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("memory/x/memory.limit_in_bytes", "7000\n");
    ck_assert_uint_eq(host_cgroup_limit(root,
                                        "12:cpu,cpuacct:/y\n5:memory:/x/z\n1:name=systemd:/x\n"),
                      7000);
}
END_TEST

START_TEST(nonsense_is_no_limit)
{
    put("a/memory.max", "a lot\n");
    ck_assert_uint_eq(host_cgroup_limit(root, ""), UINT64_MAX);
    ck_assert_uint_eq(host_cgroup_limit(root, "no colons here"), UINT64_MAX);
    ck_assert_uint_eq(host_cgroup_limit(root, "0::relative\n::\n:\n\n"), UINT64_MAX);
    ck_assert_uint_eq(host_cgroup_limit(root, "0::/a\n"), UINT64_MAX);
}
END_TEST

START_TEST(the_machine_has_cpus_and_memory)
{
    ck_assert_uint_ge(host_cpus(), 1);
    ck_assert_uint_gt(host_memory(), 1 << 20);
    ck_assert_uint_gt(host_rss(), 1 << 16);
    ck_assert_uint_ge(host_rss_max(), host_rss() / 2);
}
END_TEST

START_TEST(files_are_raised_as_far_as_allowed)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_uint_eq(host_raise_files(1), limit.rlim_cur);
    limit.rlim_cur = 100;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_uint_eq(host_raise_files(120), 120);
    ck_assert_uint_ge(host_raise_files(UINT32_MAX), 120);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("host");
    TCase *tcase = tcase_create("host");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, the_smallest_limit_of_a_group_and_its_parents_counts);
    tcase_add_test(tcase, version_1_has_a_hierarchy_for_memory);
    tcase_add_test(tcase, nonsense_is_no_limit);
    tcase_add_test(tcase, the_machine_has_cpus_and_memory);
    tcase_add_test(tcase, files_are_raised_as_far_as_allowed);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
