/* Logs as earlier versions wrote them, which every later version must read.
 *
 * golden/v1 holds a data directory after an orderly stop and a crash, and
 * records.txt, a line "VERSION HEX" for each record. golden/v1-sealed is the same, encrypted,
 * under one key first and then under another, both in the file `keys`; in golden/v1-all-sealed meta
 * also says that nothing is plain, and which segment is the newest. These are AES-256-GCM;
 * golden/v1-chacha is ChaCha20-Poly1305. In golden/v1-recycled the first segments are gone, and the
 * last one was made of one of them, of which more is left behind the log's end. `unit_wal_golden
 * --make NAME DIR` writes a directory like golden/NAME with this version; that is for a new
 * format only: what is there never changes. */
#include "wal_test.h"

#include "wal/meta.h"
#include "wal/segment.h"

#include <limits.h>
#include <sched.h>
#include <unistd.h>

struct golden {
    const char *name;
    enum brd_seal_cipher cipher; /* 0: it is not encrypted */
    bool all_sealed;             /* meta says that nothing is plain */
    bool recycled;               /* its last segment */
    int first_segment;
    unsigned records;
};

static const struct golden goldens[] = {
    { .name = "v1", .first_segment = 1, .records = 64 },
    { .name = "v1-sealed", .cipher = BRD_SEAL_AES_256_GCM, .first_segment = 1, .records = 64 },
    { .name = "v1-all-sealed",
      .cipher = BRD_SEAL_AES_256_GCM,
      .all_sealed = true,
      .first_segment = 1,
      .records = 64 },
    { .name = "v1-chacha",
      .cipher = BRD_SEAL_CHACHA20_POLY1305,
      .all_sealed = true,
      .first_segment = 1,
      .records = 64 },
    { .name = "v1-recycled", .recycled = true, .first_segment = 3, .records = 20 },
};

#define GOLDENS (sizeof(goldens) / sizeof(*goldens))

static struct log_test test;
static const struct golden *golden; /* the directory that is read or made */
static FILE *lines;
static enum brd_seal_cipher preferred; /* of what is begun now */

/* Instead of daemon/seal/preferred.c. */
enum brd_seal_cipher
brd_seal_preferred(void)
{
    return preferred;
}

static void
setup(void)
{
    test_init(&test);
}

static void
teardown(void)
{
    test_fini(&test);
}

/* ---- Reading ---- */

static FILE *
open_golden(const char *name)
{
    const char *root = getenv("BRINDLE_SRC");
    char path[PATH_MAX];

    if (root != NULL)
        snprintf(path, sizeof(path), "%s/tests/unit/wal/golden/%s/%s", root, golden->name, name);
    else
        snprintf(path, sizeof(path), "%.*s/golden/%s/%s", (int)(strrchr(__FILE__, '/') - __FILE__),
                 __FILE__, golden->name, name);
    return fopen(path, "rb");
}

/* The ring beside the log. It is read as text, since a checkout may be open to others. */
static struct brd_keyring *
golden_keys(void)
{
    char text[512] = "";
    FILE *file = open_golden("keys");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_gt(fread(text, 1, sizeof(text) - 1, file), 64);
    fclose(file);
    return test_ring(text);
}

static bool
load(const char *name)
{
    static uint8_t content[1 << 20];
    FILE *file = open_golden(name);
    char path[PATH_MAX];
    size_t size;

    if (file == NULL)
        return false;
    size = fread(content, 1, sizeof(content), file);
    fclose(file);
    snprintf(path, sizeof(path), TEST_DIR "/%s", name);
    faulty_set_content(test.disk, path, brd_bytes(content, size));
    return true;
}

static enum brd_status
compare_line(void *arg, uint64_t version, struct brd_bytes payload, uint64_t done, uint64_t total)
{
    static char line[1 << 16];
    unsigned long long expected;
    char *hex;
    size_t i;

    (void)arg;
    (void)done;
    (void)total;
    ck_assert_ptr_nonnull(fgets(line, sizeof(line), lines));
    expected = strtoull(line, &hex, 10);
    ck_assert_uint_eq(version, expected);
    ck_assert_int_eq(*hex++, ' ');
    ck_assert_uint_eq(strcspn(hex, "\n"), payload.size * 2);
    for (i = 0; i < payload.size; i++) {
        const char digits[3] = { hex[2 * i], hex[2 * i + 1], '\0' };

        ck_assert_uint_eq(payload.data[i], strtoul(digits, NULL, 16));
    }
    return BRD_OK;
}

static void
segment_header(int number, struct segment_header *out_header)
{
    struct brd_bytes content = faulty_content(test.disk, test_segment((uint64_t)number));

    ck_assert_uint_ge(content.size, SEGMENT_HEADER_BYTES);
    ck_assert_int_eq(segment_parse(content.data, SEGMENT_HEADER_BYTES, out_header), SEGMENT_VALID);
}

/* The files are what they are there for. */
static void
check_segments(int last)
{
    struct segment_header header;
    int number;

    for (number = golden->first_segment; number <= last; number++) {
        bool recycled = golden->recycled && number == last;

        segment_header(number, &header);
        ck_assert_uint_eq(header.cipher, golden->cipher);
        ck_assert_uint_eq(header.flags, (golden->cipher != 0 ? SEGMENT_SEALED : 0) |
                                            (recycled ? SEGMENT_RECYCLED : 0));
    }
}

/* Behind the end of the log, which was replayed, there is more than zeros. */
static void
check_earlier_life(int last)
{
    struct brd_bytes content = faulty_content(test.disk, test_segment((uint64_t)last));
    struct segment_header header;
    uint64_t lsn;
    size_t end;

    segment_header(golden->first_segment, &header);
    lsn = header.start_lsn + test.report.bytes;
    segment_header(last, &header);
    end = SEGMENT_HEADER_BYTES + (size_t)(lsn - header.start_lsn);
    ck_assert_uint_gt(end, SEGMENT_HEADER_BYTES);
    ck_assert_uint_lt(end, content.size);
    ck_assert(!brd_bytes_are_zero(brd_bytes(content.data + end, content.size - end)));
}

START_TEST(a_log_of_version_1_is_read_and_continued)
{
    struct brd_keyring *keys;
    struct brd_wal_identity identity;
    struct brd_bytes content;
    char line[8];
    char name[64];
    int last;
    size_t slot;

    golden = &goldens[_i];
    test_sealed = golden->cipher != 0;
    /* And is continued with the other one. */
    preferred =
        golden->cipher == BRD_SEAL_AES_256_GCM ? BRD_SEAL_CHACHA20_POLY1305 : BRD_SEAL_AES_256_GCM;
    keys = test_sealed ? golden_keys() : NULL;
    ck_assert_int_eq(faulty_io(test.disk)->mkdir(test.disk, TEST_DIR), 0);
    ck_assert_int_eq(faulty_io(test.disk)->mkdir(test.disk, TEST_DIR "/wal"), 0);
    ck_assert(load("meta"));
    for (last = golden->first_segment;; last++) {
        snprintf(name, sizeof(name), "wal/%016x.wal", last);
        if (!load(name))
            break;
    }
    last--;
    ck_assert_int_gt(last, golden->first_segment + 1);
    check_segments(last);
    lines = open_golden("records.txt");
    ck_assert_ptr_nonnull(lines);
    test.options.keys = keys;
    ck_assert_int_eq(test_open(&test), BRD_OK);
    brd_wal_get_identity(test.wal, &identity);
    ck_assert_uint_eq(identity.epoch, 2);
    ck_assert(!identity.clean);
    ck_assert_uint_eq(identity.uuid[0], 0x42);
    ck_assert_int_eq(brd_wal_replay(test.wal, compare_line, NULL, &test.report, &test.error),
                     BRD_OK);
    ck_assert_ptr_null(fgets(line, sizeof(line), lines));
    fclose(lines);
    /* Bytes of an earlier life end it silently. */
    ck_assert(test.report.torn == !golden->recycled);
    ck_assert_uint_eq(test.report.records, golden->records);
    if (golden->recycled)
        check_earlier_life(last);
    ck_assert_int_eq(brd_wal_start(test.wal, &test.error), BRD_OK);
    ck_assert_uint_eq(brd_wal_epoch(test.wal), 3);
    ck_assert_uint_gt(test_append_groups(&test, 1, BRD_DURABILITY_FULL), identity.ceiling - 1);
    /* What meta did not know then it knows from now on. */
    ck_assert(brd_wal_all_sealed(test.wal) == golden->all_sealed);
    ck_assert_int_eq(brd_wal_note_sealed(test.wal), BRD_OK);
    test_down(&test);
    ck_assert_int_eq(test_open(&test), BRD_OK);
    ck_assert(brd_wal_all_sealed(test.wal) == test_sealed);
    ck_assert_int_eq(brd_wal_replay(test.wal, NULL, NULL, &test.report, &test.error), BRD_OK);
    ck_assert_uint_eq(test.report.records, golden->records + 1);
    brd_wal_close(&test.wal);
    content = faulty_content(test.disk, TEST_DIR "/meta");
    for (slot = 0; slot < 2; slot++) {
        struct meta_slot found;

        memcpy(&found, content.data + slot * META_PAGE_BYTES, sizeof(found));
        ck_assert(meta_knows_newest(&found));
    }
    brd_keyring_close(&keys);
}
END_TEST

/* ---- Making ---- */

/* A put as the engine writes it (docs/formats.md): the tool shows its parts. */
static size_t
put_payload(int i, uint8_t *out)
{
    char key[32];
    char value[300];
    size_t key_size = (size_t)snprintf(key, sizeof(key), "key-%d", i);
    size_t value_size = (size_t)(i * 7 % 290);
    size_t n = 0;

    memset(value, 'a' + i % 26, sizeof(value));
    out[n++] = 1;
    n += brd_varint_put(out + n, 1);
    n += brd_varint_put(out + n, key_size);
    memcpy(out + n, key, key_size);
    n += key_size;
    n += brd_varint_put(out + n, i % 5 == 0 ? UINT64_C(1700000100000) : 0);
    n += brd_varint_put(out + n, value_size);
    memcpy(out + n, value, value_size);
    return n + value_size;
}

static void
append_puts(int from, int to, bool each_a_group)
{
    uint8_t payload[TEST_SIZE_MAX];
    int i;

    for (i = from; i < to; i++) {
        size_t size = put_payload(i, payload);
        struct brd_wal_payload parts = { .head = brd_bytes(payload, size) };
        uint64_t version;

        BRD_CHECK(brd_wal_reserve(test.wal, size) == BRD_OK);
        version = brd_wal_append(test.wal, size, brd_clock_now_ns(test.clock), &parts, i % 8 == 0);
        brd_clock_advance(test.clock, 1000 * BRD_NS_PER_US);
        if (each_a_group) {
            brd_wal_kick(test.wal);
            BRD_CHECK(test_wait(&test, i % 8 == 0 ? BRD_DURABILITY_FULL : BRD_DURABILITY_NORMAL,
                                version));
        }
    }
    brd_wal_kick(test.wal);
    BRD_CHECK(test_wait(&test, BRD_DURABILITY_NORMAL, brd_wal_last_version(test.wal)));
}

static void
save(const char *dir, const char *name, uint64_t size)
{
    struct brd_bytes content;
    char path[PATH_MAX];
    FILE *file;

    snprintf(path, sizeof(path), TEST_DIR "/%s", name);
    content = faulty_content(test.disk, path);
    if (content.size < size)
        size = content.size;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "wb");
    BRD_CHECK(file != NULL && fwrite(content.data, 1, (size_t)size, file) == size);
    BRD_CHECK(fclose(file) == 0);
}

static enum brd_status
write_line(void *arg, uint64_t version, struct brd_bytes payload, uint64_t done, uint64_t total)
{
    size_t i;

    (void)arg;
    (void)done;
    (void)total;
    fprintf(lines, "%llu ", (unsigned long long)version);
    for (i = 0; i < payload.size; i++)
        fprintf(lines, "%02x", payload.data[i]);
    fputc('\n', lines);
    return BRD_OK;
}

static void
start(void)
{
    BRD_CHECK(test_open(&test) == BRD_OK);
    BRD_CHECK(brd_wal_replay(test.wal, NULL, NULL, &test.report, &test.error) == BRD_OK);
    BRD_CHECK(brd_wal_start(test.wal, &test.error) == BRD_OK);
}

#define SEALED_KEYS \
    "# a change of keys: the log begins under the second\n" TEST_KEY_B "\n" TEST_KEY_A "\n"

static void
save_keys(const char *dir)
{
    char name[PATH_MAX];
    FILE *file;

    snprintf(name, sizeof(name), "%s/keys", dir);
    file = fopen(name, "w");
    BRD_CHECK(file != NULL && fputs(SEALED_KEYS, file) >= 0);
    BRD_CHECK(fclose(file) == 0);
}

static bool
is_there(uint64_t number)
{
    return faulty_content(test.disk, test_segment(number)).data != NULL;
}

/* Begin the next segment; returns the newest version before it. One more is being prepared. */
static uint64_t
begin_next(uint64_t prepared)
{
    struct brd_wal_position position;

    BRD_CHECK(brd_wal_rotate(test.wal, &position) == BRD_OK);
    while (!is_there(prepared))
        sched_yield();
    return position.version;
}

/* Of the second life, whose segments are 2 and 3: segment 4 is new, 5 is made of the file of 2, and gets
 * less than that held. */
static void
append_recycled(void)
{
    uint64_t version;

    append_puts(20, 32, true);
    version = begin_next(4);
    BRD_CHECK(brd_wal_release(test.wal, version) == BRD_OK);
    append_puts(32, 37, true);
    begin_next(5);
    append_puts(37, 44, true);
    begin_next(6);
    append_puts(44, 52, true);
}

static uint64_t
newest_segment(void)
{
    uint64_t number;

    for (number = 99; number > 0 && !is_there(number); number--)
        ;
    return number;
}

/* The last record was not written whole. */
static void
tear(uint64_t number)
{
    struct brd_bytes last = faulty_content(test.disk, test_segment(number));
    size_t end = last.size;

    while (last.data[end - 1] == 0)
        end--;
    faulty_cut_file(test.disk, test_segment(number), end - 5);
}

static int
make(const char *dir)
{
    char name[PATH_MAX];
    uint64_t number;

    test_sealed = golden->cipher != 0;
    preferred = golden->cipher;
    test_init(&test);
    test.options.segment_bytes = 8 << 10;
    test.options.group_bytes_max = 1 << 10;
    do { /* until the random identity is one that the test knows */
        brd_wal_close(&test.wal);
        faulty_destroy(&test.disk);
        test.disk = faulty_create();
        test.options.io = faulty_io(test.disk);
        BRD_CHECK(test_open(&test) == BRD_OK);
    } while (brd_wal_uuid(test.wal).data[0] != 0x42);
    brd_wal_close(&test.wal);
    start();
    append_puts(0, 20, false);
    BRD_CHECK(brd_wal_stop(test.wal) == BRD_OK);
    brd_wal_close(&test.wal);
    if (test_sealed) {
        save_keys(dir);
        test.options.keys = test_ring(SEALED_KEYS);
    }
    start();
    if (golden->recycled)
        append_recycled();
    else
        append_puts(20, 65, true);
    test_kill(&test);
    number = newest_segment(); /* without the one prepared ahead */
    faulty_remove(test.disk, test_segment(number--));
    if (!golden->recycled)
        tear(number);
    snprintf(name, sizeof(name), "%s/records.txt", dir);
    lines = fopen(name, "w");
    BRD_CHECK(lines != NULL);
    test.options.read_only = true;
    BRD_CHECK(test_open(&test) == BRD_OK);
    BRD_CHECK(brd_wal_replay(test.wal, write_line, NULL, &test.report, &test.error) == BRD_OK);
    brd_wal_close(&test.wal);
    BRD_CHECK(fclose(lines) == 0);
    save(dir, "meta", UINT64_MAX);
    for (; number > 0 && is_there(number); number--)
        save(dir, test_segment(number) + strlen(TEST_DIR) + 1, UINT64_MAX);
    test_fini(&test);
    return EXIT_SUCCESS;
}

int
main(int argc, char **argv)
{
    Suite *suite;
    TCase *tcase;
    size_t i;

    if (argc == 4 && strcmp(argv[1], "--make") == 0) {
        for (i = 0; i < GOLDENS; i++)
            if (strcmp(goldens[i].name, argv[2]) == 0)
                golden = &goldens[i];
        return golden != NULL ? make(argv[3]) : EXIT_FAILURE;
    }
    suite = suite_create("wal golden");
    tcase = tcase_create("golden");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, a_log_of_version_1_is_read_and_continued, 0, (int)GOLDENS);
    suite_add_tcase(suite, tcase);
    return test_main_of(suite, false);
}
