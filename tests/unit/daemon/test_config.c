/* The table of options, and every way to get one wrong. */
#include "config.h"
#include "config_value.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct config config;
static struct config_error error;
static char *no_environment[] = { NULL };

static void
setup(void)
{
    error.text[0] = '\0';
    ck_assert_int_eq(config_init(&config, &error), BRD_OK);
}

static void
teardown(void)
{
    config_fini(&config);
}

static enum brd_status
read_text(const char *text)
{
    return config_read_text(&config, "test.conf", brd_bytes_of(text), &error);
}

static enum brd_status
load(char *const *argv, char *const *environment)
{
    config_fini(&config);
    return config_load(argv, environment, &config, &error);
}

#define LOAD(...) load((char *[]){ __VA_ARGS__, NULL }, no_environment)

static void
expect_sentence(const char *sentence)
{
    ck_assert_msg(strstr(error.text, sentence) != NULL, "\"%s\" has no \"%s\"", error.text,
                  sentence);
}

/* A file with this content in the test's directory; static storage. */
static char *
make_file(const char *text)
{
    static char path[300];
    const char *tmp = getenv("TMPDIR");
    FILE *file;

    snprintf(path, sizeof(path), "%s/brindle-config-%d.conf", tmp != NULL ? tmp : "/tmp",
             (int)getpid());
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
    return path;
}

/* ---- the table ---- */

static const struct {
    const char *section;
    const char *key;
    enum config_type type;
    const char *initial;
    const char *help;
    const char *choices;
} rows[] = {
#define ROW(ID, section, key, type, initial, word, number, least, most, reload, choices, help) \
    { section, key, CONFIG_##type, initial, help, choices },
    CONFIG_OPTIONS(ROW)
#undef ROW
};

START_TEST(keys_are_unique_and_written_alike)
{
    int i;
    int k;

    for (i = 0; i < CONFIG_ID_COUNT; i++) {
        ck_assert_uint_eq(strspn(rows[i].key, "abcdefghijklmnopqrstuvwxyz-"), strlen(rows[i].key));
        ck_assert_uint_gt(strlen(rows[i].help), 10);
        for (k = 0; k < i; k++)
            ck_assert_str_ne(rows[i].key, rows[k].key);
        if (i > 0 && strcmp(rows[i].section, rows[i - 1].section) != 0)
            for (k = 0; k < i; k++)
                ck_assert_str_ne(rows[i].section, rows[k].section); /* sections in one piece */
    }
}
END_TEST

START_TEST(the_defaults_are_a_valid_configuration)
{
    ck_assert_int_eq(config_finish(&config, no_environment, &error), BRD_OK);
    ck_assert_uint_eq(config.number[CONFIG_MAX_CONNECTIONS], 10000);
    ck_assert_uint_eq(config.number[CONFIG_IDLE_TIMEOUT], 300 * BRD_NS_PER_S);
    ck_assert_uint_eq(config.number[CONFIG_MAX_VALUE_SIZE], 64 * CONFIG_MB);
    ck_assert_uint_eq(config.number[CONFIG_SOCKET_MODE], 0660);
    ck_assert_str_eq(config.text[CONFIG_DATA_DIR], "./brindle-data");
    ck_assert_str_eq(config.text[CONFIG_DURABILITY], "normal");
    ck_assert(config_is_default(&config, CONFIG_LISTEN));
}
END_TEST

START_TEST(what_is_printed_can_be_read_back)
{
    struct brd_buf first;
    struct brd_buf second;
    uint64_t numbers[CONFIG_ID_COUNT];

    brd_buf_init(&first);
    brd_buf_init(&second);
    ck_assert_int_eq(read_text("[server]\nworkers = 3\nlisten = unix:/tmp/a, 127.0.0.1:0\n"
                               "[limits]\nidle-timeout = off\nmax-value-size = 1mb\n"
                               "[storage]\ndata-dir = none\n"),
                     BRD_OK);
    ck_assert_int_eq(config_finish(&config, no_environment, &error), BRD_OK);
    config_print(&config, &first);
    memcpy(numbers, config.number, sizeof(numbers));
    teardown();
    setup();
    ck_assert_int_eq(config_read_text(&config, "printed", brd_buf_bytes(&first), &error), BRD_OK);
    ck_assert_int_eq(config_finish(&config, no_environment, &error), BRD_OK);
    ck_assert_mem_eq(numbers, config.number, sizeof(numbers));
    config_print(&config, &second);
    ck_assert_uint_eq(first.size, second.size);
    ck_assert_mem_eq(first.data, second.data, first.size);
    brd_buf_fini(&first);
    brd_buf_fini(&second);
}
END_TEST

START_TEST(help_explains_every_option)
{
    struct brd_buf text;
    char flag[64];
    int i;

    brd_buf_init(&text);
    config_help(&text);
    brd_buf_append(&text, "", 1);
    for (i = 0; i < CONFIG_ID_COUNT; i++) {
        snprintf(flag, sizeof(flag), "  --%s ", rows[i].key);
        ck_assert_msg(strstr((char *)text.data, flag) != NULL, "no %s", flag);
    }
    brd_buf_fini(&text);
}
END_TEST

/* Is there a line of the file that has all of key, section and default? */
static void
expect_documented(const char *name)
{
    const char *root = getenv("BRINDLE_SRC");
    char path[4096];
    static char text[1 << 18];
    FILE *file;
    int i;

    snprintf(path, sizeof(path), "%s/docs/%s", root != NULL ? root : ".", name);
    file = fopen(path, "r");
    ck_assert_msg(file != NULL, "cannot open %s", path);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    for (i = 0; i < CONFIG_ID_COUNT; i++) {
        char wanted[128];

        snprintf(wanted, sizeof(wanted), "`%s`", rows[i].key);
        ck_assert_msg(strstr(text, wanted) != NULL, "%s does not explain %s", name, rows[i].key);
        if (rows[i].initial != NULL) {
            snprintf(wanted, sizeof(wanted), "`%s` | `%s`", rows[i].key, rows[i].initial);
            ck_assert_msg(strstr(text, wanted) != NULL, "%s does not say %s", name, wanted);
        }
    }
}

START_TEST(the_manual_explains_every_option)
{
    expect_documented("configuration.md");
}
END_TEST

/* ---- values ---- */

START_TEST(sizes_and_times_have_units)
{
    static const struct {
        const char *line;
        enum config_id id;
        uint64_t number;
    } table[] = {
        { "[memory]\nmax-memory = 512mb", CONFIG_MAX_MEMORY, 512 * CONFIG_MB },
        { "[memory]\nmax-memory = 512MB", CONFIG_MAX_MEMORY, 512 * CONFIG_MB },
        { "[memory]\nmax-memory = 2GiB", CONFIG_MAX_MEMORY, 2 * CONFIG_GB },
        { "[memory]\nmax-memory = 1 t", CONFIG_MAX_MEMORY, CONFIG_TB },
        { "[memory]\nmax-memory = 1000", CONFIG_MAX_MEMORY, 1000 },
        { "[memory]\nmax-memory = 0", CONFIG_MAX_MEMORY, 0 },
        { "[memory]\nmax-memory = auto", CONFIG_MAX_MEMORY, CONFIG_AUTO },
        { "[wal]\ndisk-reserve = auto", CONFIG_DISK_RESERVE, CONFIG_AUTO },
        { "[wal]\ndisk-reserve = off", CONFIG_DISK_RESERVE, 0 },
        { "[wal]\ndisk-reserve = 3gb", CONFIG_DISK_RESERVE, 3 * CONFIG_GB },
        { "[limits]\nidle-timeout = 1500ms", CONFIG_IDLE_TIMEOUT, 1500 * BRD_NS_PER_MS },
        { "[limits]\nidle-timeout = 2min", CONFIG_IDLE_TIMEOUT, 120 * BRD_NS_PER_S },
        { "[limits]\nidle-timeout = 1d", CONFIG_IDLE_TIMEOUT, 86400 * BRD_NS_PER_S },
        { "[limits]\nidle-timeout = off", CONFIG_IDLE_TIMEOUT, 0 },
        { "[limits]\nidle-timeout = 0", CONFIG_IDLE_TIMEOUT, 0 },
        { "[server]\nallow-insecure = yes", CONFIG_ALLOW_INSECURE, 1 },
        { "[server]\nallow-insecure = off", CONFIG_ALLOW_INSECURE, 0 },
        { "[server]\nsocket-mode = 600", CONFIG_SOCKET_MODE, 0600 },
        { "[namespace default]\ndurability = full", CONFIG_DURABILITY, 3 },
    };
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        teardown();
        setup();
        ck_assert_msg(read_text(table[i].line) == BRD_OK, "%s: %s", table[i].line, error.text);
        ck_assert_uint_eq(config.number[table[i].id], table[i].number);
    }
}
END_TEST

/* ---- files ---- */

START_TEST(every_mistake_in_a_file_is_named_with_its_line)
{
    static const struct {
        const char *text;
        const char *sentence;
    } table[] = {
        { "workers = 2\n", "test.conf:1: there is no section above this line" },
        { "[sever]\nworkers = 2\n", "test.conf:2: there is no section [sever]; sections are "
                                    "[server], [limits], [memory], [storage], [wal], "
                                    "[namespace default]" },
        { "[server]\n\n# comment\nworker = 2\n",
          "test.conf:4: there is no option worker in [server]; did you mean workers?" },
        { "[server]\nallow_insecure = 2\n", "did you mean allow-insecure?" },
        { "[server]\nfrobnicate = 2\n", "test.conf:2: there is no option frobnicate in [server]" },
        { "[server]\nmax-memory = 1gb\n",
          "test.conf:2: max-memory belongs in section [memory], not in [server]" },
        { "[server]\nworkers = 2\nworkers = 3\n",
          "test.conf:3: workers is set a second time; the first is in line 2" },
        { "[server]\nworkers\n", "test.conf:2: this is neither [SECTION], KEY = VALUE nor" },
        { "[server\nworkers = 2\n", "test.conf:1: this is neither [SECTION], KEY = VALUE nor" },
        { "[server]\nworkers =\n", "test.conf:2: workers has no value" },
        { "[server]\nworkers = many\n",
          "test.conf:2: workers must be a number from 1 to 1024, or auto, not \"many\"" },
        { "[server]\nworkers = 0\n", "workers must be a number from 1 to 1024, or auto" },
        { "[server]\nworkers = -1\n", "workers must be a number from 1 to 1024, or auto" },
        { "[server]\nworkers = 1025\n", "workers must be a number from 1 to 1024, or auto" },
        { "[server]\nworkers = 2x\n", "workers must be a number from 1 to 1024, or auto" },
        { "[server]\nworkers = 99999999999999999999999\n", "must be a number from 1 to 1024" },
        { "[server]\nallow-insecure = perhaps\n", "allow-insecure must be yes or no" },
        { "[server]\nsocket-mode = 0999\n",
          "socket-mode must be permissions in octal from 0000 to 0777" },
        { "[server]\nlog-level = loud\n",
          "log-level must be one of: error warning notice info debug, not \"loud\"" },
        { "[memory]\nmax-memory = 5q\n",
          "max-memory must be a size such as 64kb, 512mb or 2gb, or auto, not \"5q\"" },
        { "[memory]\nmax-memory = -5\n", "max-memory must be a size" },
        { "[memory]\nmax-memory = 1.5gb\n", "max-memory must be a size" },
        { "[memory]\nmax-memory = 99999999tb\n", "max-memory must be a size" },
        { "[limits]\nidle-timeout = 300\n",
          "idle-timeout must be a time such as 100ms, 30s, 5min or 1h" },
        { "[limits]\nmax-key-size = 2mb\n",
          "max-key-size must be a size such as 64kb, 512mb or 2gb from 1 to 1mb" },
        { "[namespace cache]\ndurability = none\n",
          "test.conf:2: [namespace cache]: this version has the namespace default and no others "
          "yet" },
        { "[namespace default]\nhistory = 5\n",
          "test.conf:2: there is no option history in [namespace default]" },
        { "[namespace default]\ndurability = sure\n",
          "durability must be one of: none async normal full, not \"sure\"" },
    };
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        teardown();
        setup();
        ck_assert_msg(read_text(table[i].text) == BRD_INVALID_ARGUMENT, "%s", table[i].text);
        expect_sentence(table[i].sentence);
    }
}
END_TEST

START_TEST(lines_too_long_and_zero_bytes_are_no_text)
{
    char text[600] = "[server]\nlisten = ";

    memset(text + strlen(text), 'x', 500);
    ck_assert_int_eq(read_text(text), BRD_INVALID_ARGUMENT);
    expect_sentence("test.conf:2: the line is longer than");
    ck_assert_int_eq(config_read_text(&config, "f", brd_bytes("[server]\n\0\n", 11), &error),
                     BRD_INVALID_ARGUMENT);
    expect_sentence("f:2: the line has a zero byte");
}
END_TEST

START_TEST(comments_blanks_and_lists_over_several_lines_are_fine)
{
    ck_assert_int_eq(read_text("\xef\xbb\xbf; begins with a byte order mark\r\n"
                               "[server]  ; the first\r\n"
                               "  \r\n"
                               "listen = unix:/a , unix:/b c\r\n"
                               "listen: unix:/c\r\n"
                               "[limits]\r\n"
                               "max-connections = 7 ; few\r\n"
                               "[server]\r\n"
                               "workers = 2"),
                     BRD_OK);
    ck_assert_str_eq(config.text[CONFIG_LISTEN], "unix:/a,unix:/b c,unix:/c");
    ck_assert_uint_eq(config.number[CONFIG_MAX_CONNECTIONS], 7);
    ck_assert_uint_eq(config.number[CONFIG_WORKERS], 2);
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_named)
{
    ck_assert_int_eq(LOAD("--config", "/nonexistent/x.conf"), BRD_INVALID_ARGUMENT);
    expect_sentence("/nonexistent/x.conf: cannot be read: No such file or directory");
    ck_assert_int_eq(LOAD("--config", "/"), BRD_INVALID_ARGUMENT);
    expect_sentence("/: this is a directory, not a file");
    ck_assert_int_eq(LOAD("--config", "-/nonexistent/x.conf"), BRD_OK);
    ck_assert_int_eq(LOAD("--config", "-/"), BRD_INVALID_ARGUMENT);
}
END_TEST

/* ---- flags and environment ---- */

START_TEST(a_flag_wins_over_the_environment_and_that_over_the_file)
{
    char *path = make_file("[server]\nworkers = 1\nbacklog = 1\nlisten = unix:/file\n"
                           "listen = unix:/more\n[limits]\nmax-connections = 1\n");
    char *environment[] = { (char[]){ "BRINDLE_WORKERS=2" }, (char[]){ "BRINDLE_BACKLOG=2" },
                            (char[]){ "BRINDLE_LISTEN=unix:/env" },
                            (char[]){ "BRINDLE_UNRELATED=x" }, NULL };
    char *argv[] = { (char[]){ "--workers" },
                     (char[]){ "3" },
                     (char[]){ "--listen=unix:/flag" },
                     (char[]){ "--listen" },
                     (char[]){ "unix:/two,unix:/three" },
                     (char[]){ "--config" },
                     path,
                     NULL };

    ck_assert_msg(load(argv, environment) == BRD_OK, "%s", error.text);
    ck_assert_uint_eq(config.number[CONFIG_WORKERS], 3);
    ck_assert_uint_eq(config.number[CONFIG_BACKLOG], 2);
    ck_assert_uint_eq(config.number[CONFIG_MAX_CONNECTIONS], 1);
    ck_assert_str_eq(config.text[CONFIG_LISTEN], "unix:/flag,unix:/two,unix:/three");
    ck_assert_str_eq(config.where[CONFIG_WORKERS], "--workers");
    ck_assert_str_eq(config.where[CONFIG_BACKLOG], "BRINDLE_BACKLOG");
    unlink(path);
}
END_TEST

START_TEST(a_wrong_value_is_an_error_even_if_another_wins)
{
    char *path = make_file("[server]\nworkers = lots\n");

    ck_assert_int_eq(LOAD((char[]){ "--workers=1" }, (char[]){ "--config" }, path),
                     BRD_INVALID_ARGUMENT);
    expect_sentence(".conf:2: workers must be");
    unlink(path);
}
END_TEST

START_TEST(the_file_may_be_named_in_the_environment)
{
    char *path = make_file("[server]\nworkers = 5\n");
    char variable[400];
    char *environment[] = { variable, NULL };

    snprintf(variable, sizeof(variable), "BRINDLE_CONFIG=%s", path);
    ck_assert_int_eq(load(no_environment, environment), BRD_OK);
    ck_assert_uint_eq(config.number[CONFIG_WORKERS], 5);
    unlink(path);
}
END_TEST

START_TEST(wrong_flags_are_named)
{
    static const struct {
        char *argv[4];
        const char *sentence;
    } table[] = {
        { { "--wurkers", "2", NULL }, "there is no flag --wurkers; did you mean --workers?" },
        { { "--listne=x", NULL }, "there is no flag --listne" },
        { { "start", NULL }, "\"start\": brindled takes no arguments but flags" },
        { { "-x", NULL }, "there is no flag -x" },
        { { "--port", "7420", NULL }, "there is no flag --port; did you mean --listen?" },
        { { "--config", "-", NULL }, "for standard input say /dev/stdin" },
        { { "--workers", NULL }, "--workers has no value" },
        { { "--workers=", NULL }, "--workers: workers has no value" },
        { { "--workers", "x", NULL }, "--workers: workers must be a number" },
        { { "--config", NULL }, "--config has no value" },
        { { "--config=", NULL }, "--config has no value" },
        { { "--max-memory", "1x", NULL }, "--max-memory: max-memory must be a size" },
        { { "--stripes", "1000", NULL }, "--stripes: stripes must be a power of two, not 1000" },
        { { "--eviction", "never", NULL }, "eviction must be one of: auto noeviction s3fifo lru" },
        { { "--listen", "0.0.0.0:1", NULL },
          "--listen: listen: \"0.0.0.0:1\" can be reached from other machines" },
        { { "--listen", "nonsense", NULL }, "\"nonsense\" is not HOST:PORT" },
        { { "--resp-listen", "nonsense", NULL },
          "--resp-listen: resp-listen: \"nonsense\" is not" },
        { { "--output-hard-limit", "1mb", NULL },
          "output-hard-limit (1mb) is below output-soft-limit (2mb)" },
        { { "--max-frame-size", "1mb", NULL },
          "max-frame-size (1mb) must be at least max-value-size (64mb)" },
        { { "--data-dir=none", "--durability=full", NULL },
          "--durability: durability is full, but data-dir is none (--data-dir)" },
    };
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        ck_assert_msg(load(table[i].argv, no_environment) == BRD_INVALID_ARGUMENT, "%s",
                      table[i].argv[0]);
        expect_sentence(table[i].sentence);
    }
}
END_TEST

START_TEST(switches_need_no_value)
{
    ck_assert_int_eq(LOAD((char[]){ "--allow-insecure" }, (char[]){ "--listen" },
                          (char[]){ "0.0.0.0:0" }),
                     BRD_OK);
    ck_assert_uint_eq(config.number[CONFIG_ALLOW_INSECURE], 1);
    ck_assert_int_eq(LOAD((char[]){ "--allow-insecure" }, (char[]){ "no" }), BRD_OK);
    ck_assert_uint_eq(config.number[CONFIG_ALLOW_INSECURE], 0);
    ck_assert_int_eq(LOAD((char[]){ "--allow-insecure=yes" }), BRD_OK);
    ck_assert_uint_eq(config.number[CONFIG_ALLOW_INSECURE], 1);
}
END_TEST

START_TEST(help_and_version_win_and_need_nothing_else)
{
    ck_assert_int_eq(LOAD((char[]){ "--check-config" }), BRD_OK);
    ck_assert_int_eq((int)config.action, CONFIG_CHECK);
    ck_assert_int_eq(LOAD((char[]){ "--help" }, (char[]){ "--config=/nonexistent" }), BRD_OK);
    ck_assert_int_eq((int)config.action, CONFIG_HELP);
    ck_assert_int_eq(LOAD((char[]){ "--version" }, (char[]){ "--print-config" }), BRD_OK);
    ck_assert_int_eq((int)config.action, CONFIG_VERSION);
}
END_TEST

/* ---- what depends on others ---- */

START_TEST(the_data_directory_comes_from_the_service_manager_or_is_here)
{
    char *environment[] = { (char[]){ "STATE_DIRECTORY=/var/lib/brindle:/var/lib/more" }, NULL };

    ck_assert_int_eq(load(no_environment, environment), BRD_OK);
    ck_assert_str_eq(config.text[CONFIG_DATA_DIR], "/var/lib/brindle");
    ck_assert_int_eq(load((char *[]){ (char[]){ "--data-dir=/x" }, NULL }, environment), BRD_OK);
    ck_assert_str_eq(config.text[CONFIG_DATA_DIR], "/x");
    environment[0] = (char[]){ "STATE_DIRECTORY=" };
    ck_assert_int_eq(load(no_environment, environment), BRD_OK);
    ck_assert_str_eq(config.text[CONFIG_DATA_DIR], "./brindle-data");
}
END_TEST

START_TEST(a_request_may_hold_the_longest_key_and_value)
{
    struct brd_server_options server;

    ck_assert_int_eq(LOAD((char[]){ "--max-key-size=1mb" }, (char[]){ "--max-value-size=1gb" }),
                     BRD_OK);
    ck_assert_int_eq(config_server_options(&config, &server), BRD_OK);
    ck_assert_uint_ge(server.session.frame_bytes_max, CONFIG_GB + CONFIG_MB + CONFIG_KB);
}
END_TEST

START_TEST(without_a_data_directory_durability_is_none)
{
    struct brd_engine_options options;

    ck_assert_int_eq(LOAD((char[]){ "--data-dir=none" }), BRD_OK);
    ck_assert_str_eq(config.text[CONFIG_DURABILITY], "none");
    config_engine_options(&config, &options);
    ck_assert_ptr_null(options.data_dir);
    ck_assert_int_eq(options.durability, BRD_DURABILITY_NONE);
    ck_assert_int_eq(LOAD((char[]){ "--data-dir=none" }, (char[]){ "--durability=none" }), BRD_OK);
}
END_TEST

START_TEST(the_modules_get_what_was_configured)
{
    struct brd_engine_options engine;
    struct brd_server_options server;

    ck_assert_int_eq(LOAD((char[]){ "--durability=full" }, (char[]){ "--max-memory=1gb" },
                          (char[]){ "--listen=unix:/a,unix:/b" }, (char[]){ "--workers=3" },
                          (char[]){ "--max-value-size=1mb" }, (char[]){ "--user-timeout=5s" }),
                     BRD_OK);
    config_engine_options(&config, &engine);
    ck_assert_int_eq(engine.durability, BRD_DURABILITY_FULL);
    ck_assert_uint_eq(engine.max_memory_bytes, CONFIG_GB);
    ck_assert_uint_eq(engine.max_value_bytes, CONFIG_MB);
    ck_assert_str_eq(engine.data_dir, "./brindle-data");
    ck_assert_int_eq(config_server_options(&config, &server), BRD_OK);
    ck_assert_uint_eq(server.listen_count, 2);
    ck_assert_str_eq(server.listen[1], "unix:/b");
    ck_assert(!server.listen_is_default);
    ck_assert_uint_eq(server.workers, 3);
    ck_assert_uint_eq(server.user_timeout_ms, 5000);
    ck_assert_uint_eq(server.session.frame_bytes_max, 2 * CONFIG_MB + 64 * CONFIG_KB);
    ck_assert_uint_eq(server.limits.session.pending_max, 1024);
}
END_TEST

START_TEST(auto_is_a_part_of_the_memory)
{
    ck_assert_int_eq(LOAD((char[]){ "--max-memory=auto" }), BRD_OK);
    ck_assert_uint_gt(config_max_memory(&config), CONFIG_MB);
    ck_assert_int_eq(LOAD((char[]){ "--max-memory=0" }), BRD_OK);
    ck_assert_uint_eq(config_max_memory(&config), 0);
}
END_TEST

START_TEST(every_name_of_a_policy_is_one_of_ours)
{
    static const struct {
        const char *name;
        enum brd_eviction policy;
    } names[] = {
        { "noeviction", BRD_EVICTION_NONE },
        { "s3fifo", BRD_EVICTION_S3FIFO },
        { "lru", BRD_EVICTION_LRU },
        { "volatile-ttl", BRD_EVICTION_VOLATILE_TTL },
        { "random", BRD_EVICTION_RANDOM },
        { "allkeys-lru", BRD_EVICTION_LRU },
        { "allkeys-lfu", BRD_EVICTION_S3FIFO },
        { "allkeys-random", BRD_EVICTION_RANDOM },
        { "volatile-lru", BRD_EVICTION_VOLATILE_TTL },
        { "volatile-lfu", BRD_EVICTION_VOLATILE_TTL },
        { "volatile-random", BRD_EVICTION_VOLATILE_TTL },
    };
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char flag[64];

        snprintf(flag, sizeof(flag), "--eviction=%s", names[i].name);
        ck_assert_int_eq(LOAD(flag), BRD_OK);
        ck_assert_int_eq(config_eviction(&config), names[i].policy);
    }
}
END_TEST

START_TEST(without_a_name_caches_evict_and_stores_refuse)
{
    ck_assert_int_eq(LOAD((char[]){ "--data-dir=none" }), BRD_OK);
    ck_assert_int_eq(config_eviction(&config), BRD_EVICTION_S3FIFO);
    ck_assert_int_eq(LOAD((char[]){ "--data-dir=/d" }), BRD_OK);
    ck_assert_int_eq(config_eviction(&config), BRD_EVICTION_NONE);
    ck_assert_int_eq(LOAD((char[]){ "--data-dir=/d" }, (char[]){ "--durability=none" }), BRD_OK);
    ck_assert_int_eq(config_eviction(&config), BRD_EVICTION_S3FIFO);
}
END_TEST

/* ---- changes while running ---- */

static char changes[1000];

static void
note_change(void *arg, const char *key, const char *old_value, const char *new_value, bool taken)
{
    size_t used = strlen(changes);

    (void)arg;
    snprintf(changes + used, sizeof(changes) - used, "%s %s>%s %s;", key, old_value, new_value,
             taken ? "taken" : "restart");
}

START_TEST(only_what_may_change_while_running_is_taken_over)
{
    struct config fresh;

    ck_assert_int_eq(LOAD((char[]){ "--max-connections=5" }, (char[]){ "--workers=1" },
                          (char[]){ "--idle-timeout=60s" }),
                     BRD_OK);
    ck_assert_int_eq(config_load((char *[]){ (char[]){ "--max-connections=6" },
                                             (char[]){ "--workers=2" },
                                             (char[]){ "--idle-timeout=1min" }, NULL },
                                 no_environment, &fresh, &error),
                     BRD_OK);
    config_take_reloadable(&config, &fresh, note_change, NULL);
    ck_assert_str_eq(changes, "workers 1>2 restart;max-connections 5>6 taken;");
    ck_assert_uint_eq(config.number[CONFIG_MAX_CONNECTIONS], 6);
    ck_assert_str_eq(config.text[CONFIG_MAX_CONNECTIONS], "6");
    ck_assert_uint_eq(config.number[CONFIG_WORKERS], 1);
    config_fini(&fresh);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("config");
    TCase *tcase = tcase_create("config");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, keys_are_unique_and_written_alike);
    tcase_add_test(tcase, the_defaults_are_a_valid_configuration);
    tcase_add_test(tcase, what_is_printed_can_be_read_back);
    tcase_add_test(tcase, help_explains_every_option);
    tcase_add_test(tcase, the_manual_explains_every_option);
    tcase_add_test(tcase, sizes_and_times_have_units);
    tcase_add_test(tcase, every_mistake_in_a_file_is_named_with_its_line);
    tcase_add_test(tcase, lines_too_long_and_zero_bytes_are_no_text);
    tcase_add_test(tcase, comments_blanks_and_lists_over_several_lines_are_fine);
    tcase_add_test(tcase, a_file_that_cannot_be_read_is_named);
    tcase_add_test(tcase, a_flag_wins_over_the_environment_and_that_over_the_file);
    tcase_add_test(tcase, a_wrong_value_is_an_error_even_if_another_wins);
    tcase_add_test(tcase, the_file_may_be_named_in_the_environment);
    tcase_add_test(tcase, wrong_flags_are_named);
    tcase_add_test(tcase, switches_need_no_value);
    tcase_add_test(tcase, help_and_version_win_and_need_nothing_else);
    tcase_add_test(tcase, the_data_directory_comes_from_the_service_manager_or_is_here);
    tcase_add_test(tcase, a_request_may_hold_the_longest_key_and_value);
    tcase_add_test(tcase, without_a_data_directory_durability_is_none);
    tcase_add_test(tcase, the_modules_get_what_was_configured);
    tcase_add_test(tcase, auto_is_a_part_of_the_memory);
    tcase_add_test(tcase, every_name_of_a_policy_is_one_of_ours);
    tcase_add_test(tcase, without_a_name_caches_evict_and_stores_refuse);
    tcase_add_test(tcase, only_what_may_change_while_running_is_taken_over);
    suite_add_tcase(suite, tcase);
    return suite;
}

int
main(void)
{
    SRunner *runner = srunner_create(make_suite());
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
