/* TSAN */
/* An encrypted log: whose it is, under which keys, and that nobody without them can change
 * what it says. That it works as any other log does is for the other tests of this folder, which
 * run encrypted too. */
#include "wal_test.h"

#include "base/crc32c.h"
#include "wal/group.h"
#include "wal/meta.h"
#include "wal/segment.h"

#include <sched.h>
#include <stddef.h>

#define MARKER "MARKER-that-nobody-may-read"

static struct log_test test;

static void
setup(void)
{
    test_sealed = true;
    test_init(&test);
}

static void
teardown(void)
{
    test_fini(&test);
}

/* The ring of a text, made once and never closed. */
static const struct brd_keyring *
ring_of(const char *text)
{
    static struct {
        const char *text;
        struct brd_keyring *ring;
    } rings[20];
    size_t i;

    for (i = 0; rings[i].text != NULL && strcmp(rings[i].text, text) != 0; i++)
        BRD_CHECK(i + 1 < sizeof(rings) / sizeof(rings[0]));
    if (rings[i].text == NULL) {
        rings[i].text = text;
        rings[i].ring = test_ring(text);
    }
    return rings[i].ring;
}

/* The next life has these keys; text NULL: none. */
static void
use_keys(const char *text)
{
    test.options.keys = text != NULL ? ring_of(text) : NULL;
}

static void
name_of(const char *digits, char out_name[BRD_SEAL_NAME_BYTES])
{
    brd_keyring_name(brd_keyring_current(ring_of(digits)), out_name);
}

static const uint8_t *
id_of(const char *digits)
{
    return brd_keyring_current(ring_of(digits));
}

static uint8_t *
bytes_of(const char *path)
{
    struct brd_bytes content = faulty_content(test.disk, path);

    ck_assert_msg(content.data != NULL, "%s", path);
    return (uint8_t *)(uintptr_t)content.data;
}

/* ---- What lies on the disk ---- */

struct place {
    char path[64];
    uint64_t offset, bytes;
};

static struct place places[500];
static size_t place_count;

static enum brd_status
note_place(void *arg, const struct brd_wal_group_view *group)
{
    struct place *place = &places[place_count++];

    (void)arg;
    BRD_CHECK(place_count <= sizeof(places) / sizeof(places[0]));
    snprintf(place->path, sizeof(place->path), "%s", group->segment->path);
    place->offset = group->offset;
    place->bytes = group->bytes;
    return BRD_OK;
}

/* Visit the log without changing it, and note the places of its groups. */
static enum brd_status
look(void)
{
    const struct brd_wal_visitor visitor = { .group = note_place };
    enum brd_status status;

    place_count = 0;
    memset(&test.error, 0, sizeof(test.error));
    test.options.read_only = true;
    status = test_open(&test);
    if (status == BRD_OK)
        status = brd_wal_visit(test.wal, &visitor, &test.report, &test.error);
    brd_wal_close(&test.wal);
    test.options.read_only = false;
    return status;
}

static uint32_t
checksum_without(const uint8_t *bytes, size_t at, size_t size)
{
    const uint8_t none[4] = { 0 };
    uint32_t crc = brd_crc32c(0, bytes, at);

    crc = brd_crc32c(crc, none, sizeof(none));
    return brd_crc32c(crc, bytes + at + 4, size - at - 4);
}

static void
fix_header(uint8_t *page)
{
    const size_t at = offsetof(struct segment_header, checksum);

    brd_store_le32(page + at, checksum_without(page, at, SEGMENT_HEADER_BYTES));
}

static void
fix_slot(uint8_t *sector)
{
    const size_t at = offsetof(struct meta_slot, checksum);

    brd_store_le32(sector + at, checksum_without(sector, at, META_SLOT_BYTES));
}

/* The checksum of a group, as far as its header still tells where it ends. */
static void
fix_group(const char *path, uint64_t offset)
{
    struct brd_bytes file = faulty_content(test.disk, path);
    uint8_t *at = (uint8_t *)(uintptr_t)file.data + offset;
    const size_t from = offsetof(struct group_header, flags);
    struct segment_header segment;
    struct group_header group;

    memcpy(&segment, file.data, sizeof(segment));
    memcpy(&group, at, sizeof(group));
    if (group_size(&group) > file.size - offset)
        return;
    brd_store_le32(at + offsetof(struct group_header, checksum),
                   brd_crc32c(group_seed(segment.salt), at + from,
                              (size_t)group_size(&group) - from));
}

/* Two segments under one key, ten groups in each, stopped in an orderly way. */
static void
make_two(void)
{
    int life;

    for (life = 0; life < 2; life++) {
        test_up(&test);
        test_append_groups(&test, 10, BRD_DURABILITY_FULL);
        test_down(&test);
    }
    ck_assert_int_eq(look(), BRD_OK);
    ck_assert_uint_eq(place_count, 20);
    ck_assert_str_eq(places[0].path, test_segment(1));
    ck_assert_str_eq(places[10].path, test_segment(2));
}

static void
must_be_forged(const char *path, uint64_t offset)
{
    enum brd_status status = look();

    ck_assert_msg(status == BRD_CORRUPT, "%s: %s", brd_status_name(status), test.error.text);
    ck_assert_msg(strstr(test.error.text, "authentication failed") != NULL, "%s", test.error.text);
    ck_assert_msg(strstr(test.error.text, path) != NULL, "%s", test.error.text);
    ck_assert_str_eq(test.error.path, path);
    ck_assert_uint_eq(test.error.offset, offset);
}

/* ---- Nothing of it can be read ---- */

static bool
holds_marker(const char *path)
{
    struct brd_bytes content = faulty_content(test.disk, path);

    return content.data != NULL &&
           memmem(content.data, content.size, MARKER, strlen(MARKER)) != NULL;
}

/* A record with the marker, and one where a blob has it, and one that consists of a blob. */
static void
append_markers(void)
{
    struct brd_blob *blob = brd_blob_copy(brd_bytes_of(MARKER " in a blob"));
    const struct brd_wal_payload payloads[] = {
        { .head = brd_bytes_of(MARKER) },
        { .head = brd_bytes_of("x"), .blob = blob, .tail = brd_bytes_of(MARKER) },
        { .blob = blob },
    };
    uint64_t version = 0;
    int i;

    ck_assert_ptr_nonnull(blob);
    for (i = 0; i < 30; i++) {
        ck_assert_int_eq(brd_wal_reserve(test.wal, 200), BRD_OK);
        version = brd_wal_append(test.wal, 200, TEST_NOW_NS, &payloads[i % 3], false);
        if (i % 7 == 0)
            brd_wal_kick(test.wal);
    }
    brd_wal_kick(test.wal);
    ck_assert(test_wait(&test, BRD_DURABILITY_NORMAL, version));
    /* What others refer to was not touched. */
    ck_assert_mem_eq(blob->data, MARKER, strlen(MARKER));
    brd_blob_unref(blob);
}

static enum brd_status
count_markers(void *arg, uint64_t version, struct brd_bytes payload, uint64_t done, uint64_t total)
{
    (void)version;
    (void)done;
    (void)total;
    BRD_CHECK(memmem(payload.data, payload.size, MARKER, strlen(MARKER)) != NULL);
    ++*(int *)arg;
    return BRD_OK;
}

START_TEST(what_was_written_is_nowhere_on_the_disk)
{
    uint64_t number;
    int found = 0;
    int read = 0;

    if (_i == 0)
        test.options.keys = NULL; /* would it be found? */
    ck_assert_int_eq(test_open(&test), BRD_OK);
    ck_assert_int_eq(brd_wal_replay(test.wal, NULL, NULL, &test.report, &test.error), BRD_OK);
    ck_assert_int_eq(brd_wal_start(test.wal, &test.error), BRD_OK);
    append_markers();
    test_down(&test);
    for (number = 1; number < 5; number++)
        found += holds_marker(test_segment(number));
    found += holds_marker(TEST_DIR "/meta") + holds_marker(TEST_DIR "/lock");
    ck_assert_int_eq(found, _i == 0 ? 1 : 0);
    ck_assert_int_eq(test_open(&test), BRD_OK);
    ck_assert_int_eq(brd_wal_replay(test.wal, count_markers, &read, &test.report, &test.error),
                     BRD_OK);
    ck_assert_int_eq(read, 30);
}
END_TEST

/* ---- Whose it is ---- */

/* Open with these keys: refused, with nothing changed, and a sentence that names both. */
static void
must_lack(const char *keys, const char *path, const char *digits)
{
    uint64_t before = faulty_fingerprint(test.disk);
    char name[BRD_SEAL_NAME_BYTES];
    int round;

    name_of(digits, name);
    use_keys(keys);
    for (round = 0; round < 2; round++) {
        test.options.read_only = round == 1;
        ck_assert_int_eq(test_open(&test), BRD_WRONG_KEY);
        ck_assert_ptr_null(test.wal);
        ck_assert_str_eq(test.error.path, path);
        ck_assert_msg(strstr(test.error.text, path) != NULL, "%s", test.error.text);
        ck_assert_msg(strstr(test.error.text, name) != NULL, "%s", test.error.text);
        ck_assert_msg((strstr(test.error.text, "a key file is needed") != NULL) == (keys == NULL),
                      "%s", test.error.text);
    }
    test.options.read_only = false;
    ck_assert_uint_eq(faulty_fingerprint(test.disk), before);
}

START_TEST(without_the_key_nothing_is_read_and_nothing_is_changed)
{
    test_up(&test);
    test_append_groups(&test, 3, BRD_DURABILITY_FULL);
    test_kill(&test);
    must_lack(NULL, TEST_DIR "/meta", TEST_KEY_A);
    must_lack(TEST_KEY_B "\n" TEST_KEY_C, TEST_DIR "/meta", TEST_KEY_A);
    /* Nor is a lock made, where somebody has removed it. */
    faulty_remove(test.disk, TEST_DIR "/lock");
    must_lack(NULL, TEST_DIR "/meta", TEST_KEY_A);
    must_lack(TEST_KEY_B, TEST_DIR "/meta", TEST_KEY_A);
    ck_assert_ptr_null(faulty_content(test.disk, TEST_DIR "/lock").data);
    use_keys(TEST_KEY_B "\n" TEST_KEY_A);
    test_up(&test);
    ck_assert_uint_eq(test.replayed, 3);
    test_append_groups(&test, 3, BRD_DURABILITY_FULL);
    test_down(&test);
    /* meta is under the new key now, and so is the new segment; the first one stays. */
    must_lack(NULL, TEST_DIR "/meta", TEST_KEY_B);
    must_lack(TEST_KEY_A, TEST_DIR "/meta", TEST_KEY_B);
    must_lack(TEST_KEY_B, test_segment(1), TEST_KEY_A);
    must_lack("plain\n" TEST_KEY_B, test_segment(1), TEST_KEY_A);
}
END_TEST

START_TEST(a_log_is_read_over_all_keys_it_was_written_under)
{
    static const char *const lives[] = {
        NULL,
        TEST_KEY_A,
        TEST_KEY_A,
        TEST_KEY_B "\n" TEST_KEY_A,
        "plain\n" TEST_KEY_A "\n" TEST_KEY_B,
        TEST_KEY_C "\n" TEST_KEY_B "\n" TEST_KEY_A,
        TEST_KEY_A "\n" TEST_KEY_C "\n" TEST_KEY_B,
    };
    const uint64_t count = sizeof(lives) / sizeof(lives[0]);
    struct brd_wal_identity identity;
    uint64_t i;

    test.options.segment_bytes = 8 << 10;
    for (i = 0; i < count; i++) {
        use_keys(lives[i]);
        test_up(&test);
        ck_assert_uint_eq(test.replayed, i * 100);
        test_append_groups(&test, 100, BRD_DURABILITY_NORMAL);
        ck_assert(brd_wal_is_under(test.wal, brd_keyring_current(test.options.keys)) == (i == 0));
        if (i % 2 == 0)
            test_kill(&test);
        else
            test_down(&test);
        ck_assert_int_eq(test_open(&test), BRD_OK);
        brd_wal_get_identity(test.wal, &identity);
        ck_assert_mem_eq(identity.key_ids[0], brd_keyring_current(test.options.keys), 16);
        ck_assert_mem_eq(identity.key_ids[1], brd_keyring_current(test.options.keys), 16);
        brd_wal_close(&test.wal);
    }
    for (i = 1; memcmp(bytes_of(test_segment(i)) + offsetof(struct segment_header, key_id),
                       id_of(TEST_KEY_B), 16) != 0;
         i++)
        ;
    must_lack(TEST_KEY_A "\n" TEST_KEY_C, test_segment(i), TEST_KEY_B);
}
END_TEST

START_TEST(a_new_directory_is_under_the_key_from_the_beginning)
{
    test_up(&test);
    ck_assert(brd_wal_is_under(test.wal, brd_keyring_current(test.options.keys)));
    ck_assert(!brd_wal_is_under(test.wal, brd_keyring_current(NULL)));
    test_append_groups(&test, 3, BRD_DURABILITY_FULL);
    test_down(&test);
    ck_assert_int_eq(test_open(&test), BRD_OK);
    ck_assert(brd_wal_is_under(test.wal, brd_keyring_current(test.options.keys)));
    ck_assert(!brd_wal_is_under(test.wal, id_of(TEST_KEY_B)));
}
END_TEST

START_TEST(a_log_under_the_other_cipher_is_read)
{
    struct segment_header header;
    struct brd_seal *ours = NULL;
    struct brd_seal *other = NULL;
    uint8_t *page;
    size_t i;

    /* As a machine would write it whose CPU has no instructions for ours, or has. */
    make_two();
    page = bytes_of(test_segment(1));
    memcpy(&header, page, sizeof(header));
    ck_assert_int_eq(segment_open_seal(&header, test.options.keys, &ours), BRD_OK);
    header.cipher =
        header.cipher == BRD_SEAL_AES_256_GCM ? BRD_SEAL_CHACHA20_POLY1305 : BRD_SEAL_AES_256_GCM;
    ck_assert_int_eq(segment_open_seal(&header, test.options.keys, &other), BRD_OK);
    for (i = 0; i < 10; i++) {
        uint8_t *records = page + places[i].offset + sizeof(struct group_header);
        uint8_t aad[sizeof(struct group_header)];
        struct group_header group;
        struct brd_bytes sealed;

        memcpy(&group, page + places[i].offset, sizeof(group));
        group_aad(&group, aad);
        sealed = brd_bytes(records, group.length);
        ck_assert_int_eq(brd_seal_unpart(ours, group.lsn, brd_bytes(aad, sizeof(aad)), sealed,
                                         records + group.length, records),
                         BRD_OK);
        ck_assert_int_eq(brd_seal_part(other, group.lsn, brd_bytes(aad, sizeof(aad)), &sealed, 1,
                                       records, records + group.length),
                         BRD_OK);
        fix_group(places[i].path, places[i].offset);
    }
    header.checksum = 0;
    memset(header.mac, 0, sizeof(header.mac));
    memcpy(page, &header, sizeof(header));
    ck_assert_int_eq(brd_seal_mac(other, brd_bytes(page, SEGMENT_HEADER_BYTES), header.mac),
                     BRD_OK);
    memcpy(page, &header, sizeof(header));
    fix_header(page);
    brd_seal_close(&ours);
    brd_seal_close(&other);
    test_up(&test);
    ck_assert_uint_eq(test.replayed, 20);
    test_down(&test);
    /* Only the number of the cipher changed: other keys. */
    page = bytes_of(test_segment(2));
    page[offsetof(struct segment_header, cipher)] ^= 3;
    fix_header(page);
    must_be_forged(test_segment(2), 0);
}
END_TEST

/* ---- Nobody else can change it ---- */

START_TEST(every_flipped_bit_of_a_group_is_found_by_its_tag)
{
    size_t g;
    uint64_t bit;

    make_two();
    for (g = 0; g < 20; g += 9) {
        const struct place place = places[g];
        uint8_t *group = bytes_of(place.path) + place.offset;
        struct group_header header;
        uint64_t covered;

        memcpy(&header, group, sizeof(header));
        covered = sizeof(header) + header.length + GROUP_TAG_BYTES; /* the rest is padding */
        for (bit = 0; bit < covered * 8; bit++) {
            size_t at = (size_t)bit / 8;
            bool tells_place = at < 4 || (at >= 12 && at < 16) || (at >= 24 && at < 32);

            if (at >= 4 && at < 8)
                continue; /* the checksum itself */
            group[at] ^= (uint8_t)(1 << bit % 8);
            fix_group(place.path, place.offset);
            if (at >= 8 && at < 12 && bit != 64) {
                ck_assert_int_eq(look(), BRD_UNSUPPORTED); /* a flag of the future */
                ck_assert_str_eq(test.error.path, place.path);
            } else if (tells_place || bit == 64) {
                ck_assert_int_eq(look(), BRD_CORRUPT); /* no group here, but it had been synced */
                ck_assert_str_eq(test.error.path, place.path);
                ck_assert_uint_eq(test.error.offset, place.offset);
            } else {
                must_be_forged(place.path, place.offset);
            }
            group[at] ^= (uint8_t)(1 << bit % 8);
            fix_group(place.path, place.offset);
        }
        ck_assert_int_eq(look(), BRD_OK);
    }
}
END_TEST

START_TEST(every_flipped_bit_of_a_header_is_found_by_its_mac)
{
    const size_t key_at = offsetof(struct segment_header, key_id);
    const size_t flags_at = offsetof(struct segment_header, flags);
    const size_t cipher_at = offsetof(struct segment_header, cipher);
    uint64_t number;
    uint64_t bit;

    make_two();
    for (number = 1; number <= 2; number++) {
        const char *path = test_segment(number);
        uint8_t *page = bytes_of(path);

        for (bit = 0; bit < (sizeof(struct segment_header) + 32) * 8; bit++) {
            size_t at = (size_t)bit / 8;
            enum brd_status status;

            if (at >= 12 && at < 16)
                continue; /* the checksum itself */
            page[at] ^= (uint8_t)(1 << bit % 8);
            fix_header(page);
            status = look();
            ck_assert_str_eq(test.error.path, path);
            if (at < 8)
                ck_assert_int_eq(status, BRD_CORRUPT); /* no header at all */
            else if (at < 12 || (at >= cipher_at && at < cipher_at + 4) ||
                     (at >= flags_at && at < flags_at + 4 && bit > flags_at * 8 + 1))
                ck_assert_int_eq(status, BRD_UNSUPPORTED);
            else if (at >= key_at && at < key_at + 16)
                ck_assert_int_eq(status, BRD_WRONG_KEY);
            else
                must_be_forged(path, 0);
            page[at] ^= (uint8_t)(1 << bit % 8);
            fix_header(page);
        }
        ck_assert_int_eq(look(), BRD_OK);
    }
}
END_TEST

START_TEST(every_flipped_bit_of_meta_is_found_by_its_mac)
{
    const size_t key_at = offsetof(struct meta_slot, key_id);
    const size_t flags_at = offsetof(struct meta_slot, flags);
    const size_t generation_at = offsetof(struct meta_slot, generation);
    const char *path = TEST_DIR "/meta";
    struct meta_slot older;
    struct meta_slot newer;
    uint64_t newest;
    uint64_t offset;
    uint8_t *file;
    uint64_t bit;

    make_two();
    file = bytes_of(path);
    memcpy(&older, file, sizeof(older));
    memcpy(&newer, file + META_PAGE_BYTES, sizeof(newer));
    newest = newer.generation > older.generation ? META_PAGE_BYTES : 0;
    for (offset = 0; offset <= META_PAGE_BYTES; offset += META_PAGE_BYTES) {
        uint8_t *slot = file + offset;

        for (bit = 0; bit < (sizeof(struct meta_slot) + 16) * 8; bit++) {
            size_t at = (size_t)bit / 8;
            bool future;

            if (at >= 12 && at < 16)
                continue; /* the checksum itself */
            slot[at] ^= (uint8_t)(1 << bit % 8);
            fix_slot(slot);
            future = (at >= 8 && at < 12) ||
                     (at >= flags_at && at < flags_at + 4 && bit > flags_at * 8 + 2);
            if (at < 8 || bit == generation_at * 8) {
                /* No slot: the other one is used, and is not trusted to be the newest. */
                ck_assert_msg(look() == BRD_OK || strstr(test.error.text, "does not") != NULL ||
                                  strstr(test.error.text, "missing") != NULL,
                              "%s", test.error.text);
            } else if (at >= 16 && at < 32) {
                ck_assert_int_eq(look(), BRD_CORRUPT); /* another directory's */
            } else if (future || (at >= key_at && at < key_at + 16)) {
                enum brd_status expected = future ? BRD_UNSUPPORTED : BRD_WRONG_KEY;

                /* Of the older slot nobody knows more than that it is not for him. */
                ck_assert_int_eq(look(), offset == newest ? expected : BRD_OK);
            } else {
                must_be_forged(path, offset);
            }
            slot[at] ^= (uint8_t)(1 << bit % 8);
            fix_slot(slot);
        }
    }
    ck_assert_int_eq(look(), BRD_OK);
}
END_TEST

/* Put one group's records and tag into another one's place, and then all of it but its
 * position. */
static void
must_not_move(size_t from, size_t to)
{
    uint8_t *source = bytes_of(places[from].path) + places[from].offset;
    uint8_t *target = bytes_of(places[to].path) + places[to].offset;
    size_t size = (size_t)places[to].bytes;
    uint8_t *before = malloc(size);
    const size_t lsn_at = offsetof(struct group_header, lsn);

    ck_assert_ptr_nonnull(before);
    ck_assert_uint_eq(places[from].bytes, size);
    memcpy(before, target, size);
    memcpy(target + 64, source + 64, size - 64);
    fix_group(places[to].path, places[to].offset);
    must_be_forged(places[to].path, places[to].offset);
    memcpy(target, source, size);
    memcpy(target + lsn_at, before + lsn_at, 8);
    fix_group(places[to].path, places[to].offset);
    must_be_forged(places[to].path, places[to].offset);
    memcpy(target, before, size);
    ck_assert_int_eq(look(), BRD_OK);
    free(before);
}

/* Twenty groups of the same size in two segments. */
static void
make_equal(void)
{
    static const uint8_t content[40] = "the same in each of them";
    const struct brd_wal_payload payload = { .head = brd_bytes(content, sizeof(content)) };
    int life;
    int i;

    for (life = 0; life < 2; life++) {
        ck_assert_int_eq(test_open(&test), BRD_OK);
        ck_assert_int_eq(brd_wal_replay(test.wal, NULL, NULL, &test.report, &test.error), BRD_OK);
        ck_assert_int_eq(brd_wal_start(test.wal, &test.error), BRD_OK);
        for (i = 0; i < 10; i++) {
            uint64_t version;

            ck_assert_int_eq(brd_wal_reserve(test.wal, sizeof(content)), BRD_OK);
            version = brd_wal_append(test.wal, sizeof(content), brd_clock_now_ns(test.clock),
                                     &payload, true);
            brd_wal_kick(test.wal);
            ck_assert(test_wait(&test, BRD_DURABILITY_FULL, version));
        }
        test_down(&test);
    }
    ck_assert_int_eq(look(), BRD_OK);
    ck_assert_uint_eq(place_count, 20);
}

START_TEST(a_group_opens_only_in_its_place)
{
    make_equal();
    must_not_move(1, 2); /* a first record's distance to the one before may take more bytes */
    must_not_move(7, 3);
    must_not_move(2, 13); /* the same place in another segment */
    must_not_move(13, 12);
}
END_TEST

START_TEST(nothing_of_another_directory_is_taken)
{
    struct faulty *first;
    struct brd_bytes content;
    struct segment_header header;
    uint8_t uuid[16];
    uint8_t *page;
    size_t i;

    /* The same log in two directories, under the same key. */
    make_equal();
    first = faulty_clone(test.disk);
    for (i = 1; i <= 2; i++)
        faulty_remove(test.disk, test_segment(i));
    faulty_remove(test.disk, TEST_DIR "/meta");
    make_equal();
    memcpy(uuid, bytes_of(test_segment(1)) + offsetof(struct segment_header, uuid), 16);

    /* A group, whose header fits to the byte. */
    content = faulty_content(first, test_segment(1));
    for (i = 1; i < 4; i++) {
        uint8_t *target = bytes_of(test_segment(1)) + places[i].offset;
        const size_t size = (size_t)places[i].bytes;
        uint8_t before[512];

        ck_assert_uint_le(size, sizeof(before));
        memcpy(before, target, size);
        memcpy(target + 64, content.data + places[i].offset + 64, size - 64);
        fix_group(test_segment(1), places[i].offset);
        must_be_forged(test_segment(1), places[i].offset);
        memcpy(target, before, size);
    }
    ck_assert_int_eq(look(), BRD_OK);

    /* A segment, as it is; then as if it had been written here; then with our salt too. */
    faulty_set_content(test.disk, test_segment(1), content);
    ck_assert_int_eq(look(), BRD_CORRUPT);
    ck_assert_ptr_nonnull(strstr(test.error.text, "another data directory"));
    page = bytes_of(test_segment(1));
    memcpy(page + offsetof(struct segment_header, uuid), uuid, 16);
    fix_header(page);
    must_be_forged(test_segment(1), 0);
    memcpy(&header, bytes_of(test_segment(2)), sizeof(header));
    memcpy(page + offsetof(struct segment_header, salt), header.previous_salt, 16);
    fix_header(page);
    must_be_forged(test_segment(1), 0);

    /* meta. */
    faulty_set_content(test.disk, TEST_DIR "/meta", faulty_content(first, TEST_DIR "/meta"));
    for (i = 0; i < 2; i++) {
        uint8_t *slot = bytes_of(TEST_DIR "/meta") + i * META_PAGE_BYTES;

        memcpy(slot + offsetof(struct meta_slot, uuid), uuid, 16);
        fix_slot(slot);
    }
    ck_assert_int_eq(look(), BRD_CORRUPT);
    ck_assert_ptr_nonnull(strstr(test.error.text, "authentication failed"));
    ck_assert_str_eq(test.error.path, TEST_DIR "/meta");
    faulty_destroy(&first);
}
END_TEST

START_TEST(a_plain_group_in_an_encrypted_segment_is_refused)
{
    struct group_header header;
    struct place place;
    uint8_t *group;

    make_two();
    place = places[9];
    group = bytes_of(place.path) + place.offset;
    memcpy(&header, group, sizeof(header));
    /* Of the same size: what was tag and padding becomes a part of the records. */
    header.flags = 0;
    header.length += GROUP_TAG_BYTES;
    memcpy(group, &header, sizeof(header));
    ck_assert_uint_eq(group_size(&header), place.bytes);
    fix_group(place.path, place.offset);
    must_be_forged(place.path, place.offset);
}
END_TEST

/* ---- A nonce is used once ---- */

struct use {
    uint8_t salt[16];
    uint64_t lsn;
    uint32_t bytes; /* a checksum of what was sealed so */
};

static struct use uses[100000];
static size_t use_count;

/* All groups that are on the disk now, whether they will count or not. */
static void
note_uses(void)
{
    uint64_t number;

    for (number = 1; number < 400; number++) {
        struct brd_bytes file = faulty_content(test.disk, test_segment(number));
        struct segment_header header;
        uint64_t at = SEGMENT_HEADER_BYTES;

        if (file.size < SEGMENT_HEADER_BYTES || brd_load_le64(file.data) != SEGMENT_MAGIC)
            continue;
        memcpy(&header, file.data, sizeof(header));
        ck_assert_uint_eq(header.flags & SEGMENT_SEALED, SEGMENT_SEALED);
        for (;;) {
            struct group_header group;
            struct use use = { .lsn = header.start_lsn + (at - SEGMENT_HEADER_BYTES) };
            size_t i;

            if (group_parse(brd_bytes(file.data + at, file.size - at), group_seed(header.salt),
                            use.lsn, &group) != GROUP_VALID)
                break;
            memcpy(use.salt, header.salt, sizeof(use.salt));
            use.bytes = brd_crc32c(0, file.data + at, (size_t)group_size(&group));
            for (i = use_count; i > 0; i--)
                if (uses[i - 1].lsn == use.lsn && memcmp(uses[i - 1].salt, use.salt, 16) == 0)
                    break;
            if (i > 0) {
                ck_assert_uint_eq(uses[i - 1].bytes, use.bytes); /* the same one, seen before */
            } else {
                ck_assert_uint_lt(use_count, sizeof(uses) / sizeof(uses[0]));
                uses[use_count++] = use;
            }
            at += group_size(&group);
        }
    }
}

START_TEST(no_nonce_is_used_twice_over_forty_crashes)
{
    uint64_t random = test_seed();
    int life;

    test.options.segment_bytes = 8 << 10;
    for (life = 0; life < 40; life++) {
        const char *keys = life % 3 == 0 ? TEST_KEY_A "\n" TEST_KEY_B : TEST_KEY_B "\n" TEST_KEY_A;

        use_keys(keys);
        test_up(&test);
        test_append_groups(&test, 1 + test_random(&random) % 40, BRD_DURABILITY_NORMAL);
        test_append_many(&test, test_random(&random) % 20, false);
        switch (test_random(&random) % 3) {
        case 0:
            faulty_cut(test.disk);
            brd_wal_close(&test.wal);
            note_uses();
            faulty_reboot(test.disk, FAULTY_KEEP_SOME, test_random(&random));
            break;
        case 1:
            test_kill(&test);
            break;
        default:
            test_down(&test);
        }
        note_uses();
    }
    ck_assert_uint_gt(use_count, 300);
    printf("%zu groups\n", use_count);
}
END_TEST

/* ---- Another key ---- */

static void
wait_until_under(const uint8_t *key_id)
{
    while (!brd_wal_is_under(test.wal, key_id))
        sched_yield();
}

START_TEST(keys_change_while_the_log_runs)
{
    static const char *const rings[] = {
        TEST_KEY_B "\n" TEST_KEY_A,
        "plain\n" TEST_KEY_A "\n" TEST_KEY_B,
        TEST_KEY_C "\n" TEST_KEY_B,
    };
    struct brd_wal_position position;
    struct brd_wal_stats before;
    struct brd_wal_stats stats;
    size_t i;

    test.options.segment_bytes = 8 << 10;
    test_up(&test);
    for (i = 0; i < 3; i++) {
        const struct brd_keyring *ring = ring_of(rings[i]);

        test_append_groups(&test, 50, BRD_DURABILITY_NORMAL);
        ck_assert_int_eq(brd_wal_set_keys(test.wal, ring), BRD_OK);
        test.options.keys = ring;
        ck_assert(!brd_wal_is_under(test.wal, brd_keyring_current(ring)));
        test_append_groups(&test, 50, BRD_DURABILITY_NORMAL);
        ck_assert_int_eq(brd_wal_rotate(test.wal, &position), BRD_OK);
        ck_assert_int_eq(brd_wal_wait_synced(test.wal, position.version), BRD_OK);
        ck_assert_int_eq(brd_wal_release(test.wal, position.version), BRD_OK);
        wait_until_under(brd_keyring_current(ring));
    }
    /* An empty segment under another key will not do as a new one. */
    ck_assert_int_eq(brd_wal_rotate(test.wal, &position), BRD_OK);
    brd_wal_get_stats(test.wal, &before);
    ck_assert_int_eq(brd_wal_rotate(test.wal, &position), BRD_OK);
    brd_wal_get_stats(test.wal, &stats);
    ck_assert_uint_eq(stats.segments, before.segments);
    use_keys(TEST_KEY_A "\n" TEST_KEY_C);
    ck_assert_int_eq(brd_wal_set_keys(test.wal, test.options.keys), BRD_OK);
    ck_assert_int_eq(brd_wal_rotate(test.wal, &position), BRD_OK);
    brd_wal_get_stats(test.wal, &stats);
    ck_assert_uint_eq(stats.segments, before.segments + 1);
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    ck_assert_int_eq(brd_wal_rotate(test.wal, &position), BRD_OK);
    ck_assert_int_eq(brd_wal_release(test.wal, position.version), BRD_OK);
    wait_until_under(id_of(TEST_KEY_A));
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    test_kill(&test);
    /* The others are not needed any more. */
    use_keys(TEST_KEY_A);
    ck_assert_int_eq(test_open(&test), BRD_OK);
    ck_assert_int_eq(brd_wal_replay(test.wal, NULL, NULL, &test.report, &test.error), BRD_OK);
    ck_assert_uint_eq(test.report.records, 5);
}
END_TEST

/* Records from some number on, each with its content. */
static enum brd_status
follow_numbers(void *arg, uint64_t version, struct brd_bytes payload, uint64_t done, uint64_t total)
{
    uint8_t content[TEST_SIZE_MAX];
    uint64_t *next = arg;

    (void)version;
    (void)done;
    (void)total;
    BRD_CHECK(payload.size >= 8);
    if (*next == 0)
        *next = brd_load_le64(payload.data);
    BRD_CHECK(brd_bytes_equal(payload, brd_bytes(content, test_content(*next, 0, content))));
    ++*next;
    return BRD_OK;
}

/* The life of a log that changes its key, and may lose power anywhere. Returns the newest
 * version that was acknowledged. */
static uint64_t
change_key(void)
{
    struct brd_wal_position position;
    uint64_t version;
    uint64_t acked;

    if (test_try_up(&test) != BRD_OK)
        return 0;
    acked = test.last_version;
    version = test_append_many(&test, 1, true);
    if (version != 0 && test_wait(&test, BRD_DURABILITY_FULL, version))
        acked = version;
    use_keys(TEST_KEY_C "\n" TEST_KEY_B "\n" TEST_KEY_A);
    ck_assert_int_eq(brd_wal_set_keys(test.wal, test.options.keys), BRD_OK);
    if (brd_wal_rotate(test.wal, &position) == BRD_OK) {
        version = test_append_many(&test, 1, true);
        if (version != 0 && test_wait(&test, BRD_DURABILITY_FULL, version))
            acked = version;
        /* Until both slots of meta are under the new key. */
        while (brd_wal_release(test.wal, position.version) == BRD_OK &&
               !brd_wal_is_under(test.wal, brd_keyring_current(test.options.keys)))
            sched_yield();
    }
    if (brd_wal_stop(test.wal) == BRD_OK)
        ck_assert(brd_wal_is_under(test.wal, id_of(TEST_KEY_C)));
    return acked;
}

START_TEST(power_may_fail_anywhere_while_the_key_changes)
{
    uint64_t random = test_seed();
    struct faulty *origin;
    long cuts = 0;
    long nth;

    test_up(&test);
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    test_down(&test);
    origin = faulty_clone(test.disk);
    for (nth = 1;; nth++) {
        uint64_t next = 0;
        uint64_t found;
        uint64_t acked;
        bool cut;

        faulty_destroy(&test.disk);
        test.disk = faulty_clone(origin);
        test.options.io = faulty_io(test.disk);
        use_keys(TEST_KEY_B "\n" TEST_KEY_A);
        faulty_cut_at(test.disk, nth);
        acked = change_key();
        cut = faulty_is_cut(test.disk);
        brd_wal_close(&test.wal);
        if (!cut)
            break;
        cuts++;
        faulty_reboot(test.disk, (enum faulty_keep)(nth % 3), test_random(&random));
        use_keys(TEST_KEY_C "\n" TEST_KEY_B "\n" TEST_KEY_A);
        ck_assert_msg(test_open(&test) == BRD_OK, "cut %ld: %s", nth, test.error.text);
        found = brd_wal_base_version(test.wal);
        ck_assert_msg(brd_wal_replay(test.wal, follow_numbers, &next, &test.report, &test.error) ==
                          BRD_OK,
                      "cut %ld: %s", nth, test.error.text);
        if (test.report.last_version > found)
            found = test.report.last_version;
        ck_assert_uint_ge(found, acked);
        ck_assert_int_eq(brd_wal_start(test.wal, &test.error), BRD_OK);
        test.next = next;
        test_append_groups(&test, 1, BRD_DURABILITY_FULL);
        test_down(&test);
    }
    ck_assert_int_gt(cuts, 20);
    printf("%ld cuts\n", cuts);
    faulty_destroy(&origin);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("wal sealed");
    TCase *tcase = tcase_create("sealed");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tcase, 300);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, what_was_written_is_nowhere_on_the_disk, 0, 2);
    tcase_add_test(tcase, without_the_key_nothing_is_read_and_nothing_is_changed);
    tcase_add_test(tcase, a_log_is_read_over_all_keys_it_was_written_under);
    tcase_add_test(tcase, a_new_directory_is_under_the_key_from_the_beginning);
    tcase_add_test(tcase, a_log_under_the_other_cipher_is_read);
    tcase_add_test(tcase, every_flipped_bit_of_a_group_is_found_by_its_tag);
    tcase_add_test(tcase, every_flipped_bit_of_a_header_is_found_by_its_mac);
    tcase_add_test(tcase, every_flipped_bit_of_meta_is_found_by_its_mac);
    tcase_add_test(tcase, a_group_opens_only_in_its_place);
    tcase_add_test(tcase, nothing_of_another_directory_is_taken);
    tcase_add_test(tcase, a_plain_group_in_an_encrypted_segment_is_refused);
    tcase_add_test(tcase, no_nonce_is_used_twice_over_forty_crashes);
    tcase_add_test(tcase, keys_change_while_the_log_runs);
    tcase_add_test(tcase, power_may_fail_anywhere_while_the_key_changes);
    suite_add_tcase(suite, tcase);
    brd_diag_set_level((enum brd_diag_level)0);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
