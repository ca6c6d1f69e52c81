/* Snapshots as earlier versions wrote them, which every later version must read.
 *
 * golden/v1 holds one that is not sealed, one for each cipher, and the keys. `engine_golden
 * --make DIR` writes such a directory with this version; it is for a new format only: what is
 * there never changes. */
#include "engine/core.h"
#include "engine/mutation.h"
#include "support/faulty_io.h"
#include "support/rings.h"

#include "base/check.h"

#include <check.h>
#include <limits.h>

#define START   UINT64_C(1700000000000000000)
#define SMALL   150
#define LARGE   2
#define ENTRIES (SMALL + LARGE)
#define KEYS    RING_B RING_A

static const struct {
    const char *name;
    uint32_t cipher; /* 0: not sealed */
} files[] = {
    { "plain.snap", 0 },
    { "aes-256-gcm.snap", BRD_SEAL_AES_256_GCM },
    { "chacha20-poly1305.snap", BRD_SEAL_CHACHA20_POLY1305 },
};

#define FILE_COUNT (sizeof(files) / sizeof(files[0]))

/* ---- What is in them ---- */

struct entry {
    char key[32];
    uint8_t value[17000];
    size_t value_size;
    uint64_t version;
    uint64_t deadline_ms;
};

static const struct entry *
entry_of(unsigned i)
{
    static struct entry entry;
    size_t at;

    snprintf(entry.key, sizeof(entry.key), "key-%u", i);
    entry.value_size = i < SMALL ? i % 90 : sizeof(entry.value) - i % 2;
    for (at = 0; at < entry.value_size; at++)
        entry.value[at] = (uint8_t)(i * 31 + at * 7 + at / 251);
    entry.version = START - 1000 + 7 * i;
    entry.deadline_ms = i % 3 == 0 ? 1900000000000 + i : 0;
    return &entry;
}

static struct snapshot_header
header_of(uint32_t cipher)
{
    struct snapshot_header header = {
        .start_version = START, .created_ns = START + 5, .epoch = 9, .cipher = cipher
    };
    unsigned i;

    for (i = 0; i < sizeof(header.uuid); i++)
        header.uuid[i] = (uint8_t)(0x40 + i);
    return header;
}

/* ---- Reading ---- */

static struct faulty *disk;
static struct brd_keyring *ring;

static void
setup(void)
{
    disk = faulty_create();
    ring = ring_of(KEYS);
}

static void
teardown(void)
{
    brd_keyring_close(&ring);
    faulty_destroy(&disk);
}

static void
load(const char *name)
{
    static uint8_t content[1 << 20];
    const char *root = getenv("BRINDLE_SRC");
    char path[PATH_MAX];
    FILE *file;
    size_t size;

    if (root != NULL)
        snprintf(path, sizeof(path), "%s/tests/engine/golden/v1/%s", root, name);
    else
        snprintf(path, sizeof(path), "%.*s/golden/v1/%s", (int)(strrchr(__FILE__, '/') - __FILE__),
                 __FILE__, name);
    file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s", path);
    size = fread(content, 1, sizeof(content), file);
    fclose(file);
    ck_assert_uint_gt(size, 0);
    ck_assert_int_eq(faulty_io(disk)->mkdir(disk, "/data"), 0);
    faulty_set_content(disk, "/data/snapshot", brd_bytes(content, size));
}

static void
compare(unsigned i, uint64_t version, struct brd_bytes payload)
{
    const struct entry *entry = entry_of(i);
    struct brd_change change;

    ck_assert_int_eq(brd_change_next(&payload, &change), BRD_OK);
    ck_assert_uint_eq(version, entry->version);
    ck_assert_str_eq(change.kind, "put");
    ck_assert_uint_eq(change.ns, 1);
    ck_assert(brd_bytes_equal(change.key, brd_bytes_of(entry->key)));
    ck_assert(brd_bytes_equal(change.value, brd_bytes(entry->value, entry->value_size)));
    ck_assert_uint_eq(change.deadline_ms, entry->deadline_ms);
    ck_assert_uint_eq(payload.size, 0);
}

START_TEST(a_snapshot_of_version_1_is_read)
{
    const struct snapshot_header header = header_of(0);
    struct snapshot_reader reader;
    struct brd_snapshot_error error;
    struct snapshot_lane lane;
    struct brd_bytes records;
    struct brd_bytes payload;
    enum brd_status status;
    uint64_t version;
    uint64_t offset;
    unsigned n = 0;

    load(files[_i].name);
    status = snapshot_open(&reader, faulty_io(disk), ring, "/data/snapshot", &error);
    ck_assert_msg(status == BRD_OK, "%s", error.text);
    ck_assert_mem_eq(reader.info.uuid, header.uuid, sizeof(header.uuid));
    ck_assert_uint_eq(reader.info.start_version, START);
    ck_assert_uint_eq(reader.info.end_version, START + 100);
    ck_assert_uint_eq(reader.info.created_ns, START + 5);
    ck_assert_uint_eq(reader.info.epoch, 9);
    ck_assert_uint_eq(reader.info.records, ENTRIES);
    ck_assert_uint_eq(reader.header.cipher, files[_i].cipher);
    ck_assert((memcmp(reader.info.key_id, brd_keyring_current(NULL), BRD_SEAL_ID_BYTES) == 0) ==
              (files[_i].cipher == 0));
    ck_assert_int_eq(snapshot_lane_open(&lane, &reader, &error), BRD_OK);
    while ((status = snapshot_next_block(&reader, &lane, &records, &offset, &error)) == BRD_OK)
        while (snapshot_next_record(&records, &version, &payload))
            compare(n++, version, payload);
    ck_assert_msg(status == BRD_NOT_FOUND, "%s", error.text);
    ck_assert_uint_eq(n, ENTRIES);
    snapshot_lane_close(&lane);
    snapshot_close(&reader);
}
END_TEST

/* ---- Making ---- */

static void
make_file(const char *dir, size_t i)
{
    const struct snapshot_header header = header_of(files[i].cipher);
    struct snapshot_writer writer;
    char name[PATH_MAX];
    struct brd_bytes content;
    unsigned n;
    FILE *out;

    BRD_CHECK(faulty_io(disk)->mkdir(disk, "/data") == 0 || i > 0);
    BRD_CHECK(snapshot_create(&writer, faulty_io(disk), files[i].cipher != 0 ? ring : NULL, "/data",
                              &header) == 0);
    for (n = 0; n < ENTRIES; n++) {
        const struct entry *entry = entry_of(n);
        const struct brd_bytes key = brd_bytes_of(entry->key);
        const struct brd_bytes value = brd_bytes(entry->value, entry->value_size);

        if (n >= SMALL)
            BRD_CHECK(snapshot_add_large(&writer, entry->version, 1, key, entry->deadline_ms,
                                         value) == 0);
        else
            snapshot_add(&writer, entry->version, 1, key, entry->deadline_ms, value);
        if (n == SMALL / 2)
            BRD_CHECK(snapshot_flush(&writer, true) == 0);
    }
    BRD_CHECK(snapshot_complete(&writer, START + 100) == 0);
    content = faulty_content(disk, writer.tmp_path);
    snprintf(name, sizeof(name), "%s/%s", dir, files[i].name);
    out = fopen(name, "wb");
    BRD_CHECK(out != NULL && fwrite(content.data, 1, content.size, out) == content.size &&
              fclose(out) == 0);
    snapshot_abandon(&writer);
}

int
main(int argc, char **argv)
{
    Suite *suite;
    TCase *tcase;
    SRunner *runner;
    int failed;
    size_t i;

    if (argc == 3 && strcmp(argv[1], "--make") == 0) {
        setup();
        for (i = 0; i < FILE_COUNT; i++)
            make_file(argv[2], i);
        teardown();
        return EXIT_SUCCESS;
    }
    suite = suite_create("engine golden");
    tcase = tcase_create("golden");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, a_snapshot_of_version_1_is_read, 0, (int)FILE_COUNT);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
