/* TSAN */
/* Encrypted data directories: what is in no file, what is refused without the key or after
 * a change, and other keys while the engine runs, with power cut at every step. */
#include "engine/history.h"

#include "base/crc32c.h"
#include "engine/core.h"
#include "support/faulty_io.h"
#include "support/rings.h"

#include <errno.h>
#include <sched.h>

static struct faulty *disk;
static struct brd_keyring *rings[16]; /* all that a test has made */
static size_t ring_count;

/* The ring of a key file of this text, until the end of the test. */
static const struct brd_keyring *
ring_with(const char *text)
{
    ck_assert_uint_lt(ring_count, sizeof(rings) / sizeof(rings[0]));
    rings[ring_count] = ring_of(text);
    return rings[ring_count++];
}

static void
setup(void)
{
    take_seed();
    disk = faulty_create();
    memset(&rig, 0, sizeof(rig));
    rig.options.data_dir = "/data";
    rig.options.io = faulty_io(disk);
    rig.options.durability = BRD_DURABILITY_NORMAL;
    rig.options.wal_segment_bytes = 64 << 10;
    rig.options.stripes = 8;
    rig.options.keys = ring_with(RING_A);
}

static void
teardown(void)
{
    rig_fini(&rig);
    faulty_destroy(&disk);
    while (ring_count > 0)
        brd_keyring_close(&rings[--ring_count]);
}

static void
up(void)
{
    enum brd_status status = rig_start(&rig);

    ck_assert_msg(status == BRD_OK, "%s: %s", brd_status_name(status), rig.error.text);
}

static struct checkpoint_result
checkpoint_any(void)
{
    struct checkpoint_result result;
    uint64_t ticket = 0;

    ck_assert(checkpoint_ask(rig.engine, BRD_CHECKPOINT_RESTART, &ticket, &result));
    return result;
}

static struct checkpoint_result
checkpoint_now(void)
{
    struct checkpoint_result result = checkpoint_any();

    ck_assert_msg(result.status == BRD_OK, "%s", result.text);
    return result;
}

static void
restart(void)
{
    rig_stop(&rig);
    faulty_kill(disk);
    up();
}

static void
restart_and_compare(void)
{
    struct picture before;
    struct picture after;

    take_picture(&before);
    restart();
    take_picture(&after);
    assert_same(&before, &after);
    free_picture(&before);
    free_picture(&after);
}

static const char *
snapshot_file(uint64_t version)
{
    static char path[64];

    snprintf(path, sizeof(path), "/data/snapshots/%016llx.snap", (unsigned long long)version);
    return path;
}

static void
expect_refusal(enum brd_status wanted, const char *text)
{
    enum brd_status status = rig_start(&rig);

    ck_assert_msg(status == wanted, "%s: %s", brd_status_name(status), rig.error.text);
    ck_assert_msg(strstr(rig.error.text, text) != NULL, "%s", rig.error.text);
    brd_engine_destroy(&rig.engine);
}

/* ---- What is in the files ---- */

struct search {
    const char *folder;
    const char *text;
    unsigned found; /* files that hold the text */
    unsigned files;
};

static int
search_file(void *arg, const char *name)
{
    struct search *search = arg;
    struct brd_bytes content;
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", search->folder, name);
    content = faulty_content(disk, path);
    search->files += content.size > 0;
    search->found += content.size > 0 &&
                     memmem(content.data, content.size, search->text, strlen(search->text)) != NULL;
    return 0;
}

/* In how many files on the disk is this text? Nobody writes. */
static unsigned
search_disk(const char *text, unsigned *out_files)
{
    static const char *const folders[] = { "/data", "/data/wal", "/data/snapshots" };
    struct search search = { .text = text };
    size_t i;

    for (i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        int result;

        search.folder = folders[i];
        result = faulty_io(disk)->list(disk, folders[i], search_file, &search);
        ck_assert(result == 0 || result == -ENOENT);
    }
    *out_files = search.files;
    return search.found;
}

/* The same of a running engine, which is stopped for it. */
static unsigned
files_with(const char *text, unsigned *out_files)
{
    unsigned found;

    rig_stop(&rig);
    found = search_disk(text, out_files);
    faulty_kill(disk);
    up();
    return found;
}

static void
put_needles(void)
{
    static char large[20000];
    size_t at;

    ck_assert_int_eq(rig_put(&rig, "needle-key", "1"), BRD_OK);
    ck_assert_int_eq(rig_put(&rig, "k", "a needle-value, too"), BRD_OK);
    for (at = 0; at + 20 < sizeof(large); at += 16)
        snprintf(large + at, 17, "needle-large %3zu", at % 1000);
    ck_assert_int_eq(rig_put(&rig, "l", large), BRD_OK);
}

START_TEST(nothing_of_keys_and_values_is_in_any_file)
{
    unsigned files;
    int i;

    up();
    put_needles();
    (void)checkpoint_now();
    put_needles();
    for (i = 0; i < 300; i++)
        random_step();
    ck_assert_uint_eq(files_with("needle", &files), 0);
    ck_assert_uint_ge(files, 3);

    /* The same without a key is found: so the search can find. */
    rig_stop(&rig);
    faulty_destroy(&disk);
    disk = faulty_create();
    rig.options.io = faulty_io(disk);
    rig.options.keys = NULL;
    up();
    put_needles();
    (void)checkpoint_now();
    put_needles();
    ck_assert_uint_ge(files_with("needle", &files), 2);
}
END_TEST

START_TEST(a_sealed_history_comes_back)
{
    int round;
    int i;

    up();
    for (round = 0; round < 12; round++) {
        for (i = 0; i < 150; i++)
            random_step();
        if (round % 3 != 2)
            (void)checkpoint_now();
        for (i = 0; i < 50; i++)
            random_step();
        restart_and_compare();
        ck_assert_uint_eq(keys_pending(rig.engine), 0);
    }
}
END_TEST

START_TEST(without_the_key_nothing_starts_and_nothing_changes)
{
    static const char *const texts[] = { NULL, RING_B, "plain\n" RING_B RING_C };
    uint64_t fingerprint;
    size_t i;

    up();
    put_needles();
    (void)checkpoint_now();
    put_needles();
    rig_stop(&rig);
    fingerprint = faulty_fingerprint(disk);
    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        rig.options.keys = texts[i] != NULL ? ring_with(texts[i]) : NULL;
        expect_refusal(BRD_WRONG_KEY, "/data/");
        ck_assert_uint_eq(faulty_fingerprint(disk), fingerprint);
    }
    rig.options.keys = rings[0];
    up();
    assert_value(&rig, "needle-key", "1");
}
END_TEST

/* The log is under keys that are there, the snapshot is not. */
START_TEST(a_snapshot_under_an_unknown_key_is_no_damage)
{
    uint8_t *content;
    uint64_t version;
    struct brd_bytes old;
    struct brd_snapshot_error error;
    struct brd_snapshot_info info;

    up();
    put_needles();
    version = checkpoint_now().snapshot.start_version;
    rig_stop(&rig);
    old = faulty_content(disk, snapshot_file(version));
    content = malloc(old.size);
    memcpy(content, old.data, old.size);
    ck_assert_int_eq(snapshot_verify(faulty_io(disk), rings[0], snapshot_file(version), &info,
                                     &error),
                     BRD_OK);
    ck_assert_int_eq(snapshot_verify(faulty_io(disk), ring_with(RING_B), snapshot_file(version),
                                     &info, &error),
                     BRD_WRONG_KEY);
    ck_assert_ptr_nonnull(strstr(error.text, "not in the key file"));
    ck_assert_int_eq(snapshot_verify(faulty_io(disk), NULL, snapshot_file(version), &info, &error),
                     BRD_WRONG_KEY);
    ck_assert_ptr_nonnull(strstr(error.text, "no key file"));
    free(content);
    up();
}
END_TEST

/* ---- Changes ---- */

/* A snapshot of three blocks, alone on a disk. */
static uint64_t
make_small(void)
{
    struct snapshot_writer writer;
    const struct snapshot_header header = { .uuid = { 1, 2, 3 }, .start_version = 4711 };
    char key[16];
    int i;

    ck_assert_int_eq(faulty_io(disk)->mkdir(disk, "/data"), 0);
    ck_assert_int_eq(snapshot_create(&writer, faulty_io(disk), rig.options.keys, "/data", &header),
                     0);
    for (i = 0; i < 9; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        snapshot_add(&writer, 100 + (uint64_t)i, 1, brd_bytes_of(key), 0, brd_bytes_of("value"));
        if (i % 3 == 2)
            ck_assert_int_eq(snapshot_flush(&writer, true), 0);
    }
    ck_assert_uint_eq(writer.blocks, 3);
    ck_assert_int_eq(snapshot_complete(&writer, 4712), 0);
    ck_assert_int_eq(snapshot_publish(&writer), 0);
    return 4711;
}

static enum brd_status
verify(struct brd_bytes content, struct brd_snapshot_error *error)
{
    struct brd_snapshot_info info;

    faulty_set_content(disk, "/data/changed", content);
    return snapshot_verify(faulty_io(disk), rig.options.keys, "/data/changed", &info, error);
}

static uint8_t *
copy_of(const char *path, size_t *out_size)
{
    struct brd_bytes content = faulty_content(disk, path);
    uint8_t *copy = malloc(content.size);

    memcpy(copy, content.data, content.size);
    *out_size = content.size;
    return copy;
}

static uint32_t
word_at(const uint8_t *at)
{
    uint32_t word;

    memcpy(&word, at, sizeof(word));
    return word;
}

/* Somebody who changes a file also mends its checksums, as far as the file still has the
 * shape of one. */
static void
mend_checksums(uint8_t *content, size_t size)
{
    uint32_t seed_crc = brd_crc32c(0, content + offsetof(struct snapshot_header, salt), 16);
    size_t footer = size - sizeof(struct snapshot_sealed_footer);
    size_t at = SNAPSHOT_HEADER_BYTES;
    uint32_t crc;

    memset(content + 12, 0, 4);
    crc = brd_crc32c(0, content, SNAPSHOT_HEADER_BYTES);
    memcpy(content + 12, &crc, 4);
    while (at + sizeof(struct snapshot_block_header) < footer) {
        size_t length =
            sizeof(struct snapshot_block_header) + word_at(content + at + 12) + BRD_SEAL_TAG_BYTES;

        if (length > footer - at)
            break;
        crc = brd_crc32c(seed_crc, content + at + 8, length - 8);
        memcpy(content + at + 4, &crc, 4);
        at += length;
    }
    crc = brd_crc32c(seed_crc, content + footer + 8, sizeof(struct snapshot_sealed_footer) - 8);
    memcpy(content + footer + 4, &crc, 4);
}

START_TEST(every_flipped_bit_is_refused)
{
    struct brd_snapshot_error error;
    size_t size;
    uint8_t *content = copy_of(snapshot_file(make_small()), &size);
    size_t bit;

    ck_assert_int_eq(verify(brd_bytes(content, size), &error), BRD_OK);
    for (bit = 0; bit < size * 8; bit++) {
        enum brd_status status;

        content[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        status = verify(brd_bytes(content, size), &error);
        ck_assert_msg(status == BRD_CORRUPT, "bit %zu: %s", bit, brd_status_name(status));
        ck_assert_ptr_nonnull(strstr(error.text, "offset"));
        content[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    free(content);
}
END_TEST

START_TEST(every_flipped_bit_is_refused_also_where_checksums_were_mended)
{
    struct brd_snapshot_error error;
    size_t size;
    uint8_t *content = copy_of(snapshot_file(make_small()), &size);
    uint8_t *changed = malloc(size);
    unsigned authentic = 0;
    size_t bit;

    memcpy(changed, content, size);
    mend_checksums(changed, size);
    ck_assert_mem_eq(changed, content, size);
    for (bit = 0; bit < size * 8; bit++) {
        bool is_checksum = bit / 32 == 3;
        enum brd_status status;

        memcpy(changed, content, size);
        changed[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        mend_checksums(changed, size);
        status = verify(brd_bytes(changed, size), &error);
        if (memcmp(changed, content, size) == 0) {
            ck_assert_int_eq(status, BRD_OK); /* it was a checksum */
            continue;
        }
        ck_assert(!is_checksum);
        /* Of another format, or under another key, as far as the header tells. */
        ck_assert_msg(status == BRD_CORRUPT || (status == BRD_UNSUPPORTED && bit < 92 * 8) ||
                          (status == BRD_WRONG_KEY && bit / 8 >= 72 && bit / 8 < 88) ||
                          (status == BRD_UNSUPPORTED && (bit / 8 - SNAPSHOT_HEADER_BYTES) < size),
                      "bit %zu: %s: %s", bit, brd_status_name(status), error.text);
        authentic += strstr(error.text, "authentication failed") != NULL;
    }
    /* All of the padding of the header page, at least. */
    ck_assert_uint_gt(authentic, (SNAPSHOT_HEADER_BYTES - sizeof(struct snapshot_header)) * 8);
    free(changed);
    free(content);
}
END_TEST

/* Where block n begins, and how long it is. */
static size_t
block_at(const uint8_t *content, int n, size_t *out_length)
{
    size_t at = SNAPSHOT_HEADER_BYTES;
    int i;

    for (i = 0;; i++) {
        *out_length =
            sizeof(struct snapshot_block_header) + word_at(content + at + 12) + BRD_SEAL_TAG_BYTES;
        if (i == n)
            return at;
        at += *out_length;
    }
}

static void
expect_forged(uint8_t *content, size_t size, const char *offset)
{
    struct brd_snapshot_error error;
    enum brd_status status;

    mend_checksums(content, size);
    status = verify(brd_bytes(content, size), &error);
    ck_assert_msg(status == BRD_CORRUPT && strstr(error.text, "authentication failed") != NULL &&
                      strstr(error.text, offset) != NULL,
                  "%s: %s", brd_status_name(status), error.text);
}

START_TEST(blocks_cannot_be_swapped_dropped_or_replaced)
{
    struct brd_snapshot_error error;
    size_t size;
    uint8_t *content = copy_of(snapshot_file(make_small()), &size);
    uint8_t *changed = malloc(size);
    struct snapshot_sealed_footer footer;
    uint8_t *other;
    size_t other_size;
    size_t length[3];
    size_t at[3];
    int i;

    for (i = 0; i < 3; i++)
        at[i] = block_at(content, i, &length[i]);
    ck_assert_uint_eq(length[0], length[1]);

    /* The first two change places, and numbers. */
    memcpy(changed, content, size);
    memcpy(changed + at[0], content + at[1], length[1]);
    memcpy(changed + at[1], content + at[0], length[0]);
    memcpy(changed + at[0] + 16, content + at[0] + 16, 8);
    memcpy(changed + at[1] + 16, content + at[1] + 16, 8);
    expect_forged(changed, size, "offset 4096");

    /* One stands in for another. */
    memcpy(changed, content, size);
    memcpy(changed + at[1], content + at[0], length[0]);
    memcpy(changed + at[1] + 16, content + at[1] + 16, 8);
    expect_forged(changed, size, "offset");

    /* The last one is not there, and the footer does not tell. */
    memcpy(changed, content, size);
    memcpy(&footer, content + size - sizeof(footer), sizeof(footer));
    footer.footer.blocks--;
    footer.footer.records -= 3;
    footer.footer.bytes -= length[2];
    memcpy(changed + at[2], &footer, sizeof(footer));
    expect_forged(changed, size - length[2], "offset");

    /* One comes from another snapshot of the same directory and version. */
    faulty_remove(disk, snapshot_file(4711));
    faulty_destroy(&disk);
    disk = faulty_create();
    rig.options.io = faulty_io(disk);
    other = copy_of(snapshot_file(make_small()), &other_size);
    ck_assert_uint_eq(other_size, size);
    ck_assert_mem_ne(other, content, size);
    ck_assert_int_eq(verify(brd_bytes(other, size), &error), BRD_OK);
    memcpy(changed, content, size);
    memcpy(changed + at[1], other + at[1], length[1]);
    expect_forged(changed, size, "offset");

    /* A footer too. */
    memcpy(changed, content, size);
    memcpy(changed + size - sizeof(footer), other + size - sizeof(footer), sizeof(footer));
    expect_forged(changed, size, "offset");
    free(other);
    free(changed);
    free(content);
}
END_TEST

START_TEST(a_header_that_is_not_sure_whether_it_is_sealed_is_damage)
{
    struct brd_snapshot_error error;
    size_t size;
    uint8_t *content = copy_of(snapshot_file(make_small()), &size);

    content[offsetof(struct snapshot_header, flags)] = 0;
    mend_checksums(content, size);
    ck_assert_int_eq(verify(brd_bytes(content, size), &error), BRD_CORRUPT);
    ck_assert_ptr_nonnull(strstr(error.text, "whether it is encrypted"));
    content[offsetof(struct snapshot_header, flags)] = 1;
    memset(content + offsetof(struct snapshot_header, key_id), 0, BRD_SEAL_ID_BYTES);
    mend_checksums(content, size);
    ck_assert_int_eq(verify(brd_bytes(content, size), &error), BRD_CORRUPT);
    ck_assert_ptr_nonnull(strstr(error.text, "whether it is encrypted"));
    free(content);
}
END_TEST

/* ---- Other keys ---- */

static void
set_keys(const struct brd_keyring *keys)
{
    enum brd_status status = brd_engine_set_keys(rig.engine, keys, &rig.error);

    ck_assert_msg(status == BRD_OK, "%s", rig.error.text);
    rig.options.keys = keys; /* of the next start */
}

/* What is there can be opened with this alone. */
static void
expect_enough(const char *text)
{
    rig_stop(&rig);
    faulty_kill(disk);
    rig.options.keys = text != NULL ? ring_with(text) : NULL;
    up();
    ck_assert_uint_eq(keys_pending(rig.engine), 0);
}

START_TEST(keys_change_while_it_runs)
{
    struct checkpoint_result first;
    struct checkpoint_result second;
    unsigned files;
    int i;

    up();
    for (i = 0; i < 200; i++)
        random_step();
    put_needles();
    first = checkpoint_now();
    set_keys(ring_with(RING_B RING_A));
    ck_assert_uint_gt(keys_pending(rig.engine), 0);
    /* Nothing was written since: the snapshot is made all the same, of the same version. */
    second = checkpoint_now();
    ck_assert_uint_eq(second.snapshot.start_version, first.snapshot.start_version);
    ck_assert_mem_ne(second.snapshot.key_id, first.snapshot.key_id, BRD_SEAL_ID_BYTES);
    ck_assert_uint_eq(keys_pending(rig.engine), 0);
    for (i = 0; i < 200; i++)
        random_step();
    restart_and_compare();
    expect_enough(RING_B);

    /* Off. */
    set_keys(ring_with("plain\n" RING_B));
    put_needles();
    ck_assert_uint_gt(keys_pending(rig.engine), 0);
    (void)checkpoint_now();
    ck_assert_uint_eq(keys_pending(rig.engine), 0);
    put_needles();
    ck_assert_uint_ge(files_with("needle", &files), 2);
    expect_enough(NULL);

    /* On. */
    set_keys(ring_with(RING_C));
    ck_assert_uint_gt(keys_pending(rig.engine), 0);
    (void)checkpoint_now();
    ck_assert_uint_eq(keys_pending(rig.engine), 0);
    put_needles();
    ck_assert_uint_eq(files_with("needle", &files), 0);
    expect_enough(RING_C);
    assert_value(&rig, "needle-key", "1");
}
END_TEST

START_TEST(keys_change_at_a_start)
{
    static const char *const texts[] = { RING_B RING_A, RING_C RING_B, "plain\n" RING_C, RING_A,
                                         RING_B RING_A };
    size_t i;

    up();
    put_needles();
    (void)checkpoint_now();
    put_needles();
    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        rig_stop(&rig);
        faulty_kill(disk);
        rig.options.keys = ring_with(texts[i]);
        up();
        ck_assert_uint_gt(keys_pending(rig.engine), 0);
        (void)checkpoint_now();
        ck_assert_uint_eq(keys_pending(rig.engine), 0);
        restart();
        ck_assert_uint_eq(keys_pending(rig.engine), 0);
        assert_value(&rig, "needle-key", "1");
    }
}
END_TEST

/* There is no record at all: empty segments and meta go under another key too. */
START_TEST(an_empty_directory_changes_keys)
{
    up();
    set_keys(ring_with(RING_B RING_A));
    ck_assert_uint_gt(keys_pending(rig.engine), 0);
    (void)checkpoint_now();
    ck_assert_uint_eq(keys_pending(rig.engine), 0);
    expect_enough(RING_B);
}
END_TEST

START_TEST(keys_that_are_in_use_must_be_in_the_new_ring)
{
    enum brd_status status;

    up();
    put_needles();
    status = brd_engine_set_keys(rig.engine, ring_with(RING_B), &rig.error);
    ck_assert_int_eq(status, BRD_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(rig.error.text, "/data/"));
    ck_assert_int_eq(brd_engine_set_keys(rig.engine, NULL, &rig.error), BRD_INVALID_ARGUMENT);
    ck_assert_uint_eq(keys_pending(rig.engine), 0);
    put_needles();
    restart(); /* all is under the old one */

    set_keys(ring_with(RING_B RING_A));
    ck_assert_int_eq(brd_engine_set_keys(rig.engine, ring_with(RING_C RING_B), &rig.error),
                     BRD_INVALID_ARGUMENT);
    /* Not even a file need be there that was begun under it. */
    ck_assert_int_eq(brd_engine_set_keys(rig.engine, ring_with(RING_C RING_A), &rig.error),
                     BRD_INVALID_ARGUMENT);
    set_keys(ring_with(RING_C RING_B RING_A));
    (void)checkpoint_now();
    ck_assert_uint_eq(keys_pending(rig.engine), 0);
    expect_enough(RING_C);
}
END_TEST

START_TEST(a_file_that_cannot_be_removed_keeps_the_old_key_in_use)
{
    static const char *const folders[] = { "/wal/", "/snapshots/" };

    up();
    put_needles();
    (void)checkpoint_now();
    put_needles();
    set_keys(ring_with(_i == 0 ? RING_B RING_A : "plain\n" RING_A));
    faulty_fail_path(disk, folders[_i]);
    faulty_fail(disk, FAULTY_UNLINK, 1, 0, EACCES);
    (void)checkpoint_now();
    ck_assert(faulty_hit(disk));
    ck_assert_uint_gt(keys_pending(rig.engine), 0);
    (void)checkpoint_now();
    ck_assert_uint_gt(keys_pending(rig.engine), 0);
    faulty_clear(disk);
    (void)checkpoint_now();
    ck_assert_uint_eq(keys_pending(rig.engine), 0);
    expect_enough(_i == 0 ? RING_B : NULL);
    assert_value(&rig, "needle-key", "1");
}
END_TEST

START_TEST(only_is_refused_until_all_is_encrypted)
{
    const struct brd_keyring *only = ring_with("only\n" RING_A);

    rig.options.keys = NULL;
    up();
    put_needles();
    (void)checkpoint_now();
    rig_stop(&rig);
    faulty_kill(disk);
    rig.options.keys = only;
    expect_refusal(BRD_CORRUPT, "/data/meta");
    rig.options.keys = rings[0];
    up();
    ck_assert_uint_gt(keys_pending(rig.engine), 0);
    ck_assert_int_eq(brd_engine_set_keys(rig.engine, only, &rig.error), BRD_INVALID_ARGUMENT);
    ck_assert_msg(strstr(rig.error.text, "is not encrypted; leave `only` out") != NULL, "%s",
                  rig.error.text);
    /* Nor does a start take what is left of before. */
    rig_stop(&rig);
    faulty_kill(disk);
    rig.options.keys = only;
    expect_refusal(BRD_CORRUPT, "(only)");
    rig.options.keys = rings[0];
    up();
    (void)checkpoint_now();
    set_keys(only);
    put_needles();
    (void)checkpoint_now();
    restart_and_compare();
    ck_assert_uint_eq(keys_pending(rig.engine), 0);
}
END_TEST

/* ---- Files that were put there ---- */

/* Does a slot of meta say that no file is plain? (docs/formats.md) */
static bool
slot_says_sealed(int slot)
{
    struct brd_bytes meta = faulty_content(disk, "/data/meta");

    ck_assert_uint_eq(meta.size, 8192);
    return (word_at(meta.data + slot * 4096 + 44) & 4) != 0;
}

static bool
meta_says_sealed(void)
{
    ck_assert_int_eq(slot_says_sealed(0), slot_says_sealed(1));
    return slot_says_sealed(0);
}

/* A snapshot of one entry, under the key of these or plain, in place of whatever is there. */
static void
plant_snapshot(const char *dir, const struct brd_keyring *keys,
               const struct snapshot_header *header)
{
    struct snapshot_writer writer;

    ck_assert_int_eq(snapshot_create(&writer, faulty_io(disk), keys, dir, header), 0);
    snapshot_add(&writer, header->start_version, 1, brd_bytes_of("k"), 0, brd_bytes_of("forged"));
    ck_assert_int_eq(snapshot_flush(&writer, true), 0);
    ck_assert_int_eq(snapshot_complete(&writer, header->start_version), 0);
    ck_assert_int_eq(snapshot_publish(&writer), 0);
}

/* What may be in the header of a snapshot that is made of the version of the last write. */
static struct snapshot_header
header_of_now(void)
{
    struct snapshot_header header = { .epoch = brd_wal_epoch(rig.engine->wal) };

    ck_assert_int_eq(rig_put(&rig, "other", "1"), BRD_OK);
    header.start_version = rig.reply.version;
    memcpy(header.uuid, brd_wal_uuid(rig.engine->wal).data, sizeof(header.uuid));
    return header;
}

START_TEST(a_plain_snapshot_is_refused_where_all_was_encrypted)
{
    struct brd_snapshot_log log = { .end_version = UINT64_MAX, .all_sealed = true };
    struct brd_snapshot_file *files = NULL;
    struct brd_snapshot_error error;
    struct brd_snapshot_info info;
    struct snapshot_header header;
    uint64_t fingerprint;
    uint64_t version;
    size_t count = 0;

    up();
    ck_assert_int_eq(rig_put(&rig, "k", "ours"), BRD_OK);
    (void)checkpoint_now();
    header = header_of_now();
    version = header.start_version;
    rig_stop(&rig);
    plant_snapshot("/data", NULL, &header);
    fingerprint = faulty_fingerprint(disk);
    expect_refusal(BRD_CORRUPT, snapshot_file(version));
    expect_refusal(BRD_CORRUPT, "not encrypted");
    expect_refusal(BRD_CORRUPT, "brindle-wal repair");
    ck_assert_uint_eq(faulty_fingerprint(disk), fingerprint);
    /* As tools see it. */
    log.uuid = brd_bytes(header.uuid, sizeof(header.uuid));
    ck_assert_int_eq(brd_snapshot_check(faulty_io(disk), rig.options.keys, "/data", &log, _i == 0,
                                        &info, &error),
                     BRD_CORRUPT);
    ck_assert_str_eq(error.path, snapshot_file(version));
    ck_assert_int_eq(brd_snapshot_list(faulty_io(disk), rig.options.keys, "/data", &log, &files,
                                       &count, &error),
                     BRD_OK);
    ck_assert_uint_eq(count, 2);
    ck_assert_int_eq(files[0].status, BRD_CORRUPT);
    ck_assert_int_eq(files[1].status, BRD_OK);
    free(files);

    /* Without it all is as before; and where encryption is off it may be ours. */
    faulty_remove(disk, snapshot_file(version));
    faulty_kill(disk);
    rig.options.keys = ring_with("plain\n" RING_A);
    up();
    assert_value(&rig, "k", "ours");
    header = header_of_now();
    rig_stop(&rig);
    plant_snapshot("/data", NULL, &header);
    faulty_kill(disk);
    up();
    assert_value(&rig, "k", "forged");
}
END_TEST

START_TEST(a_plain_cache_is_not_loaded_where_all_was_encrypted)
{
    struct snapshot_header header;

    rig.options.durability = BRD_DURABILITY_NONE;
    rig.options.warm = true;
    up();
    ck_assert_int_eq(rig_put(&rig, "k", "ours"), BRD_OK);
    header = header_of_now();
    header.start_version = brd_sequencer_last(&rig.engine->sequencer);
    rig_stop(&rig);
    faulty_kill(disk);
    plant_snapshot("/data/warm", _i == 0 ? NULL : rig.options.keys, &header);
    up();
    if (_i == 0)
        assert_absent(&rig, "k");
    else
        assert_value(&rig, "k", "forged"); /* so it was nothing else that was wrong with it */
}
END_TEST

START_TEST(meta_says_that_all_is_encrypted_from_when_to_when_it_is)
{
    up();
    ck_assert(meta_says_sealed());
    put_needles();
    (void)checkpoint_now();
    set_keys(ring_with(RING_B RING_A));
    ck_assert(meta_says_sealed());
    (void)checkpoint_now();
    ck_assert(meta_says_sealed());
    set_keys(ring_with("plain\n" RING_B));
    ck_assert(!meta_says_sealed());
    (void)checkpoint_now();
    put_needles();
    ck_assert(!meta_says_sealed());
    set_keys(ring_with(RING_C));
    put_needles();
    ck_assert(!meta_says_sealed());
    (void)checkpoint_now();
    ck_assert_uint_eq(keys_pending(rig.engine), 0);
    ck_assert(meta_says_sealed());
    restart_and_compare();
    ck_assert(meta_says_sealed());
    /* A file that cannot be removed is still there to be believed. */
    set_keys(ring_with("plain\n" RING_C));
    (void)checkpoint_now();
    set_keys(ring_with(RING_C));
    faulty_fail_path(disk, "/snapshots/");
    faulty_fail(disk, FAULTY_UNLINK, 1, 0, EACCES);
    put_needles();
    (void)checkpoint_now();
    ck_assert_uint_gt(keys_pending(rig.engine), 0);
    ck_assert(!meta_says_sealed());
    faulty_clear(disk);
    (void)checkpoint_now();
    ck_assert(meta_says_sealed());
}
END_TEST

START_TEST(where_meta_cannot_be_told_encryption_stays_on)
{
    up();
    put_needles();
    (void)checkpoint_now(); /* they are on the disk */
    faulty_fail_path(disk, "meta");
    faulty_fail(disk, FAULTY_FDATASYNC, 1, 0, EIO);
    ck_assert_int_eq(brd_engine_set_keys(rig.engine, ring_with("plain\n" RING_A), &rig.error),
                     BRD_READ_ONLY);
    ck_assert_msg(strstr(rig.error.text, "/data/meta") != NULL, "%s", rig.error.text);
    ck_assert_ptr_eq(keys_ring(rig.engine), rig.options.keys);
    ck_assert_uint_eq(keys_pending(rig.engine), 0);
    rig_stop(&rig);
    faulty_clear(disk);
    faulty_kill(disk);
    up();
    assert_value(&rig, "needle-key", "1");
}
END_TEST

/* ---- Power ---- */

static int
find_plain(void *arg, const char *path, const uint8_t *key_id)
{
    static const uint8_t none[BRD_SEAL_ID_BYTES];
    const char *end = strrchr(path, '.');

    (void)arg;
    ck_assert_msg(key_id == NULL || memcmp(key_id, none, sizeof(none)) != 0 || end == NULL ||
                      (strcmp(end, ".wal") != 0 && strcmp(end, ".snap") != 0),
                  "%s", path);
    return 0;
}

/* No slot of meta says that all is encrypted where it is not. */
static void
check_slots(void)
{
    if (!slot_says_sealed(0) && !slot_says_sealed(1))
        return;
    ck_assert_int_eq(brd_wal_list_keys(faulty_io(disk), "/data", find_plain, NULL), 0);
    ck_assert_int_eq(snapshot_list_keys(faulty_io(disk), "/data", find_plain, NULL), 0);
}

static uint64_t acked[16];

static void
count_up(int key)
{
    char name[16];
    uint64_t number;

    snprintf(name, sizeof(name), "n%d", key);
    if (rig_do(&rig, REQUEST(INCR, KEY(name), .delta = 1, .durability = BRD_DURABILITY_FULL)) !=
        BRD_OK)
        return;
    number = (uint64_t)rig.reply.number;
    while (brd_engine_committed(rig.engine).full < rig.reply.version &&
           !brd_engine_committed(rig.engine).failed)
        sched_yield();
    if (brd_engine_committed(rig.engine).full >= rig.reply.version)
        acked[key] = number;
}

static void
check_counts(void)
{
    int key;

    for (key = 0; key < 16; key++) {
        char name[16];

        snprintf(name, sizeof(name), "n%d", key);
        ck_assert_int_eq(rig_get(&rig, name), BRD_OK);
        ck_assert_uint_ge(strtoull(rig.value, NULL, 10), acked[key]);
    }
}

/* From one key file to another, and then another key is all that is needed. */
struct change {
    const char *before, *with, *after;
};

static const struct change changes[] = {
    { RING_A, RING_B RING_A, RING_B },
    { NULL, RING_A, RING_A },
    { RING_A, "plain\n" RING_A, NULL },
};

/* A change of keys, with a snapshot and log before it, cut at the nth change of the disk from when
 * it is asked for, or from when that was done. */
static bool
cut_rekey(const struct change *change, bool early, long nth, enum faulty_keep keep)
{
    const struct brd_keyring *with = ring_with(change->with);
    struct checkpoint_result result;
    uint64_t ticket = 0;
    bool was_cut;
    int key;

    memset(acked, 0, sizeof(acked));
    rig.options.keys = change->before != NULL ? ring_with(change->before) : NULL;
    up();
    for (key = 0; key < 16; key++)
        count_up(key);
    (void)checkpoint_now();
    for (key = 0; key < 16; key += 2)
        count_up(key);
    if (early)
        faulty_cut_at(disk, nth);
    if (brd_engine_set_keys(rig.engine, with, &rig.error) != BRD_OK)
        ck_assert_msg(early && faulty_is_cut(disk), "%s", rig.error.text);
    if (!early)
        faulty_cut_at(disk, nth);
    ck_assert(checkpoint_ask(rig.engine, BRD_CHECKPOINT_RESTART, &ticket, &result));
    count_up(3);
    was_cut = faulty_is_cut(disk);
    if (!was_cut)
        faulty_cut(disk);
    rig_stop(&rig);
    faulty_reboot(disk, keep, next_random());

    check_slots();
    rig.options.keys = with;
    up();
    check_counts();
    count_up(0);
    (void)checkpoint_now();
    ck_assert_uint_eq(keys_pending(rig.engine), 0);
    ck_assert(meta_says_sealed() == (change->after != NULL));
    expect_enough(change->after);
    ck_assert(meta_says_sealed() == (change->after != NULL));
    check_counts();
    return was_cut;
}

START_TEST(power_may_fail_at_every_step_of_a_change_of_keys)
{
    static const enum faulty_keep keeps[] = { FAULTY_KEEP_NONE, FAULTY_KEEP_ALL, FAULTY_KEEP_SOME };
    bool was_cut = true;
    long nth;

    for (nth = 1; was_cut; nth++) {
        was_cut = cut_rekey(&changes[_i % 9 / 3], _i >= 9, nth, keeps[_i % 3]);
        teardown();
        setup();
    }
    ck_assert_int_gt(nth, 20);
    up();
}
END_TEST

/* Whatever a disk may forget: what is under another key does not come back with the power. */
START_TEST(what_is_said_to_be_gone_stays_gone)
{
    unsigned files;

    rig.options.keys = NULL;
    up();
    put_needles();
    (void)checkpoint_now();
    put_needles();
    set_keys(ring_with(RING_A));
    (void)checkpoint_now();
    ck_assert_uint_eq(keys_pending(rig.engine), 0);
    faulty_cut(disk);
    rig_stop(&rig);
    faulty_reboot(disk, FAULTY_KEEP_NONE, 0);
    ck_assert_uint_eq(search_disk("needle", &files), 0);
    ck_assert_uint_ge(files, 2);

    /* Nor is it said where the folders could not be synced. */
    rig.options.keys = ring_with(RING_A);
    up();
    put_needles();
    set_keys(ring_with(RING_B RING_A));
    faulty_fail_path(disk, "snapshots");
    faulty_fail(disk, FAULTY_FSYNC, 2, 1, EIO); /* its name, then this */
    (void)checkpoint_any();
    faulty_clear(disk);
    ck_assert_uint_gt(keys_pending(rig.engine), 0);
    (void)checkpoint_now();
    ck_assert_uint_eq(keys_pending(rig.engine), 0);
}
END_TEST

/* ---- Threads ---- */

START_TEST(a_change_of_keys_makes_a_checkpoint_by_itself)
{
    struct checkpoint_view view;
    int i;

    /* As rig_start, with threads. */
    rig.options.clock = brd_clock_create_real(0);
    ck_assert_int_eq(brd_engine_create(&rig.options, &rig.engine), BRD_OK);
    ck_assert_int_eq(brd_engine_start(rig.engine, &rig.error), BRD_OK);
    ck_assert_int_eq(brd_caller_attach(rig.engine, &rig.caller), BRD_OK);
    for (i = 0; i < 4; i++) {
        put_needles();
        set_keys(ring_with(i % 2 == 0 ? RING_B RING_A : RING_A RING_B));
        while (keys_pending(rig.engine) > 0) {
            ck_assert_int_eq(rig_put(&rig, "k", "meanwhile"), BRD_OK);
            sched_yield();
        }
        checkpoint_look(rig.engine, &view);
        ck_assert_uint_eq(view.failures, 0);
    }
    rig_stop(&rig);
    rig.options.keys = ring_with(RING_A);
    up();
    assert_value(&rig, "needle-key", "1");
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("engine sealed");
    TCase *tcase = tcase_create("sealed");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 600);
    tcase_add_test(tcase, nothing_of_keys_and_values_is_in_any_file);
    tcase_add_test(tcase, a_sealed_history_comes_back);
    tcase_add_test(tcase, without_the_key_nothing_starts_and_nothing_changes);
    tcase_add_test(tcase, a_snapshot_under_an_unknown_key_is_no_damage);
    tcase_add_test(tcase, every_flipped_bit_is_refused);
    tcase_add_test(tcase, every_flipped_bit_is_refused_also_where_checksums_were_mended);
    tcase_add_test(tcase, blocks_cannot_be_swapped_dropped_or_replaced);
    tcase_add_test(tcase, a_header_that_is_not_sure_whether_it_is_sealed_is_damage);
    tcase_add_test(tcase, keys_change_while_it_runs);
    tcase_add_test(tcase, keys_change_at_a_start);
    tcase_add_test(tcase, an_empty_directory_changes_keys);
    tcase_add_test(tcase, keys_that_are_in_use_must_be_in_the_new_ring);
    tcase_add_loop_test(tcase, a_file_that_cannot_be_removed_keeps_the_old_key_in_use, 0, 2);
    tcase_add_test(tcase, only_is_refused_until_all_is_encrypted);
    tcase_add_loop_test(tcase, a_plain_snapshot_is_refused_where_all_was_encrypted, 0, 2);
    tcase_add_loop_test(tcase, a_plain_cache_is_not_loaded_where_all_was_encrypted, 0, 2);
    tcase_add_test(tcase, meta_says_that_all_is_encrypted_from_when_to_when_it_is);
    tcase_add_test(tcase, where_meta_cannot_be_told_encryption_stays_on);
    tcase_add_loop_test(tcase, power_may_fail_at_every_step_of_a_change_of_keys, 0, 18);
    tcase_add_test(tcase, what_is_said_to_be_gone_stays_gone);
    tcase_add_test(tcase, a_change_of_keys_makes_a_checkpoint_by_itself);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
