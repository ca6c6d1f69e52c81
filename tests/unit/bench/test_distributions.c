/* Keys, sizes and values: what is drawn follows the law that it claims. Seeds
 * are fixed, so that a verdict never depends on luck. */
#include "keys.h"
#include "sizes.h"
#include "values.h"
#include "zipf.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double exponents[] = { 0.0, 0.5, 0.99, 1.0, 1.01, 1.5, 3.0 };
#define EXPONENTS ((int)(sizeof(exponents) / sizeof(exponents[0])))

/* Chi-square over all ranks against the exact probabilities. With n - 1 = 199
 * degrees of freedom 276 is exceeded by chance once in 5000. Ranks with too
 * small an expectation are added up. */
START_TEST(zipf_ranks_have_their_exact_probabilities)
{
    enum { N = 200, DRAWS = 400000 };
    static uint64_t seen[N + 1];
    struct zipf zipf;
    struct rng rng;
    double total = 0.0;
    double chi_square = 0.0;
    double rest_expected = 0.0;
    double rest_seen = 0.0;

    memset(seen, 0, sizeof(seen));
    zipf_init(&zipf, N, exponents[_i]);
    rng_init(&rng, 42);
    for (int i = 0; i < DRAWS; i++) {
        uint64_t rank = zipf_next(&zipf, &rng);
        ck_assert(rank >= 1 && rank <= N);
        seen[rank]++;
    }
    for (int k = 1; k <= N; k++)
        total += pow(k, -exponents[_i]);
    for (int k = 1; k <= N; k++) {
        double expected = pow(k, -exponents[_i]) / total * DRAWS;
        if (expected < 10.0) {
            rest_expected += expected;
            rest_seen += (double)seen[k];
            continue;
        }
        chi_square += ((double)seen[k] - expected) * ((double)seen[k] - expected) / expected;
    }
    if (rest_expected > 0.0)
        chi_square += (rest_seen - rest_expected) * (rest_seen - rest_expected) / rest_expected;
    printf("exponent %g: chi-square %.1f\n", exponents[_i], chi_square);
    ck_assert_double_lt(chi_square, 276.0);
}
END_TEST

START_TEST(zipf_over_one_key_is_that_key)
{
    struct zipf zipf;
    struct rng rng;
    zipf_init(&zipf, 1, exponents[_i]);
    rng_init(&rng, 1);
    for (int i = 0; i < 100; i++)
        ck_assert_uint_eq(zipf_next(&zipf, &rng), 1);
}
END_TEST

/* The share of the first rank, known in closed form from the harmonic sum. */
START_TEST(zipf_holds_for_very_many_keys)
{
    const uint64_t n = 4000000000;
    const int draws = 200000;
    struct zipf zipf;
    struct rng rng;
    int first = 0;
    zipf_init(&zipf, n, 1.0);
    rng_init(&rng, 3);
    for (int i = 0; i < draws; i++) {
        uint64_t rank = zipf_next(&zipf, &rng);
        ck_assert(rank >= 1 && rank <= n);
        first += rank == 1;
    }
    double expected = draws / (log((double)n) + 0.57721566490153286);
    ck_assert_double_lt(fabs(first - expected), 5.0 * sqrt(expected));
}
END_TEST

static struct keys
make_keys(const char *pattern, uint64_t count, const char *size)
{
    struct keys keys;
    struct sizes sizes;
    struct bench_error error;
    enum keys_pattern parsed;
    double exponent;
    ck_assert(sizes_parse(&sizes, size, &error));
    ck_assert(keys_parse_pattern(pattern, &parsed, &exponent, &error));
    ck_assert_msg(keys_init(&keys, parsed, exponent, count, &sizes, &error), "%s", error.text);
    return keys;
}

START_TEST(scrambled_ranks_are_a_permutation_of_the_keys)
{
    static const uint64_t counts[] = { 1, 2, 3, 10, 1000, 1024, 99991 };
    for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        struct keys keys = make_keys("zipf", counts[c], "16");
        bool *seen = calloc(counts[c], sizeof(*seen));
        for (uint64_t rank = 1; rank <= counts[c]; rank++) {
            uint64_t key = rank * keys.stride % counts[c];
            ck_assert(!seen[key]);
            seen[key] = true;
        }
        free(seen);
    }
}
END_TEST

START_TEST(sequential_keys_come_in_order_and_again)
{
    struct keys keys = make_keys("seq", 3, "16");
    struct rng rng;
    uint64_t sequence = 1;
    rng_init(&rng, 1);
    ck_assert_uint_eq(keys_next(&keys, &rng, &sequence), 1);
    ck_assert_uint_eq(keys_next(&keys, &rng, &sequence), 2);
    ck_assert_uint_eq(keys_next(&keys, &rng, &sequence), 0);
    ck_assert_uint_eq(keys_next(&keys, &rng, &sequence), 1);
}
END_TEST

START_TEST(uniform_keys_are_spread_evenly)
{
    enum { N = 100, DRAWS = 100000 };
    struct keys keys = make_keys("uniform", N, "16");
    struct rng rng;
    uint64_t sequence = 0;
    int seen[N] = { 0 };
    double chi_square = 0.0;
    rng_init(&rng, 9);
    for (int i = 0; i < DRAWS; i++)
        seen[keys_next(&keys, &rng, &sequence)]++;
    for (int i = 0; i < N; i++)
        chi_square += (seen[i] - DRAWS / N) * (seen[i] - DRAWS / N) / (double)(DRAWS / N);
    ck_assert_double_lt(chi_square, 155.0);
}
END_TEST

START_TEST(names_have_the_size_that_was_asked_and_differ)
{
    static const char *const sizes[] = { "5", "9", "16", "250", "5-40", "6:1,300:2" };
    uint8_t name[300];
    uint8_t other[300];
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct keys keys = make_keys("uniform", 100000, sizes[s]);
        for (uint64_t key = 0; key < 100000; key += 997) {
            size_t len = keys_name(&keys, key, name);
            ck_assert_uint_ge(len, keys.size.min);
            ck_assert_uint_le(len, keys.size.max);
            ck_assert_uint_eq(keys_name(&keys, key, other), len);
            ck_assert_mem_eq(name, other, len);
            size_t other_len = keys_name(&keys, key + 1, other);
            ck_assert(other_len != len || memcmp(name, other, len) != 0);
        }
    }
    struct keys keys = make_keys("uniform", 1000000, "16");
    ck_assert_uint_eq(keys_name(&keys, 42, name), 16);
    ck_assert_mem_eq(name, "key:000000000042", 16);
}
END_TEST

START_TEST(sizes_too_small_for_all_names_are_refused)
{
    struct keys keys;
    struct sizes sizes;
    struct bench_error error;
    ck_assert(sizes_parse(&sizes, "5", &error));
    ck_assert(!keys_init(&keys, KEYS_UNIFORM, 0.0, 100001, &sizes, &error));
    ck_assert_str_eq(error.text, "100001 keys need names of at least 6 bytes, not 5");
}
END_TEST

START_TEST(patterns_that_are_none_are_refused)
{
    static const char *const bad[] = { "",        "zip",      "zipf:",     "zipf:x", "zipf:-1",
                                       "zipf:21", "zipf:nan", "uniform:1", "zipf:1x" };
    enum keys_pattern pattern;
    double exponent;
    struct bench_error error;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(!keys_parse_pattern(bad[i], &pattern, &exponent, &error), "%s", bad[i]);
    ck_assert(keys_parse_pattern("zipf", &pattern, &exponent, &error));
    ck_assert_double_eq(exponent, 0.99);
    ck_assert(keys_parse_pattern("zipf:1.2", &pattern, &exponent, &error));
    ck_assert_double_eq(exponent, 1.2);
}
END_TEST

static struct sizes
make_sizes(const char *text)
{
    struct sizes sizes;
    struct bench_error error = { "" };
    ck_assert_msg(sizes_parse(&sizes, text, &error), "%s", error.text);
    return sizes;
}

START_TEST(sizes_follow_their_distribution)
{
    enum { DRAWS = 200000 };
    static const struct {
        const char *text;
        uint32_t min;
        uint32_t max;
        double mean;
        double tolerance;
    } cases[] = {
        { "100", 100, 100, 100.0, 0.0 },
        { "0", 0, 0, 0.0, 0.0 },
        { "2k", 2048, 2048, 2048.0, 0.0 },
        { "64-1024", 64, 1024, 544.0, 3.0 },
        { "64:50,1024:40,16k:10", 64, 16384, 2080.0, 50.0 },
        { "lognormal:200:1", 1, 1 << 20, 329.744, 5.0 },
        { "lognormal:200:1:300", 1, 300, 193.805, 1.0 },
        { "lognormal:200:0:300", 1, 300, 200.0, 0.0 },
    };
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        struct sizes sizes = make_sizes(cases[c].text);
        struct rng rng;
        double sum = 0.0;
        rng_init(&rng, 5);
        for (int i = 0; i < DRAWS; i++) {
            uint32_t size = sizes_at(&sizes, rng_next(&rng));
            ck_assert(size >= cases[c].min && size <= cases[c].max);
            sum += size;
        }
        ck_assert_double_le(fabs(sum / DRAWS - cases[c].mean), cases[c].tolerance);
        ck_assert_double_le(fabs(sizes_mean(&sizes) - cases[c].mean), 0.01);
    }
}
END_TEST

START_TEST(names_of_a_log_normal_size_are_cut_to_what_can_be)
{
    struct sizes sizes = make_sizes("lognormal:32:1.5");
    struct sizes range = make_sizes("3-300");
    struct sizes small = make_sizes("lognormal:2:1:5");
    struct bench_error error;
    struct keys keys;
    uint8_t name[250];
    bool shortest = false;
    bool longest = false;

    keys_cut_sizes(&sizes, 100000, 250);
    ck_assert_uint_eq(sizes.min, 5);
    ck_assert_uint_eq(sizes.max, 250);
    ck_assert(keys_init(&keys, KEYS_UNIFORM, 0.0, 100000, &sizes, &error));
    for (uint64_t key = 0; key < 100000; key++) {
        size_t len = keys_name(&keys, key, name);
        ck_assert(len >= 5 && len <= 250);
        shortest |= len == 5;
        longest |= len == 250;
    }
    ck_assert(shortest && longest);

    keys_cut_sizes(&range, 100000, 250); /* has ends: stays, and is refused */
    ck_assert_uint_eq(range.min, 3);
    ck_assert_uint_eq(range.max, 300);
    ck_assert(!keys_init(&keys, KEYS_UNIFORM, 0.0, 100000, &range, &error));

    keys_cut_sizes(&small, 1000000, 250); /* no name of at most 5 bytes has 6 digits */
    ck_assert(!keys_init(&keys, KEYS_UNIFORM, 0.0, 1000000, &small, &error));
    ck_assert_str_eq(error.text, "1000000 keys need names of at least 6 bytes, not 1");
}
END_TEST

START_TEST(both_ends_of_a_range_and_every_weight_come)
{
    struct sizes range = make_sizes("3-5");
    struct sizes weights = make_sizes("10:1,20:1,30:2");
    ck_assert_uint_eq(sizes_at(&range, 0), 3);
    ck_assert_uint_eq(sizes_at(&range, UINT64_MAX), 5);
    ck_assert_uint_eq(sizes_at(&weights, 0), 10);
    ck_assert_uint_eq(sizes_at(&weights, UINT64_C(1) << 62), 20);
    ck_assert_uint_eq(sizes_at(&weights, UINT64_C(1) << 63), 30);
    ck_assert_uint_eq(sizes_at(&weights, UINT64_MAX), 30);
}
END_TEST

START_TEST(sizes_that_are_none_are_refused)
{
    static const char *const bad[] = {
        "",
        "x",
        "-1",
        "1-",
        "5-3",
        "1-2-3",
        "65m",
        "99999999999999999999",
        "10:0",
        "10:",
        "10:1,",
        "10:1,x",
        ":1",
        "10:1 ",
        "lognormal",
        "lognormal:",
        "lognormal:0:1",
        "lognormal:10",
        "lognormal:10:",
        "lognormal:10:x",
        "lognormal:10:-1",
        "lognormal:10:1:5",
        "lognormal:10:1:20x",
        "lognormal:10:nan",
        "1kk",
    };
    struct sizes sizes;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct bench_error error = { "" };
        ck_assert_msg(!sizes_parse(&sizes, bad[i], &error), "'%s' was accepted", bad[i]);
        ck_assert_ptr_nonnull(strstr(error.text, "is no size"));
    }
}
END_TEST

START_TEST(a_value_is_right_for_its_key_and_wrong_for_others)
{
    static const size_t lens[] = { 1, 7, 8, 15, 16, 17, 100, 32768, 100000 };
    struct values *values = malloc(sizeof(*values));
    uint8_t *bytes = malloc(100000);
    values_init(values);
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        for (uint64_t nonce = 0; nonce < 3; nonce++) {
            size_t len = lens[i];
            values_fill(values, bytes, len, keys_tag(7), rng_mix(nonce));
            struct span value = { bytes, len };
            ck_assert(values_check(values, value, keys_tag(7)));
            ck_assert(len == 1 || !values_check(values, value, keys_tag(8)));
            bytes[len - 1] ^= 1;
            ck_assert(!values_check(values, value, keys_tag(7)));
            bytes[len - 1] ^= 1;
            struct span cut = { bytes, len - 1 };
            ck_assert(len <= 2 || !values_check(values, cut, keys_tag(7)));
        }
    }
    ck_assert(values_check(values, (struct span){ NULL, 0 }, keys_tag(7)));
    free(bytes);
    free(values);
}
END_TEST

START_TEST(a_mixture_of_two_values_is_found)
{
    struct values *values = malloc(sizeof(*values));
    uint8_t first[1000];
    uint8_t second[1000];
    values_init(values);
    values_fill(values, first, sizeof(first), keys_tag(1), rng_mix(1));
    values_fill(values, second, sizeof(second), keys_tag(1), rng_mix(2));
    memcpy(first + 500, second + 500, 500);
    ck_assert(!values_check(values, (struct span){ first, sizeof(first) }, keys_tag(1)));
    free(values);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("distributions");
    TCase *tcase = tcase_create("distributions");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tcase, zipf_ranks_have_their_exact_probabilities, 0, EXPONENTS);
    tcase_add_loop_test(tcase, zipf_over_one_key_is_that_key, 0, EXPONENTS);
    tcase_add_test(tcase, zipf_holds_for_very_many_keys);
    tcase_add_test(tcase, scrambled_ranks_are_a_permutation_of_the_keys);
    tcase_add_test(tcase, sequential_keys_come_in_order_and_again);
    tcase_add_test(tcase, uniform_keys_are_spread_evenly);
    tcase_add_test(tcase, names_have_the_size_that_was_asked_and_differ);
    tcase_add_test(tcase, sizes_too_small_for_all_names_are_refused);
    tcase_add_test(tcase, patterns_that_are_none_are_refused);
    tcase_add_test(tcase, sizes_follow_their_distribution);
    tcase_add_test(tcase, both_ends_of_a_range_and_every_weight_come);
    tcase_add_test(tcase, names_of_a_log_normal_size_are_cut_to_what_can_be);
    tcase_add_test(tcase, sizes_that_are_none_are_refused);
    tcase_add_test(tcase, a_value_is_right_for_its_key_and_wrong_for_others);
    tcase_add_test(tcase, a_mixture_of_two_values_is_found);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
