/* TSAN */
/* Files that the daemon did not put there, in an encrypted log: what meta knows of what was there
 * keeps them out, through changes of keys and power cuts; and what it does not know does not, as
 * docs/architecture.md says. Changed bytes are for test_sealed.c. */
#include "wal_test.h"

#include "base/crc32c.h"
#include "wal/meta.h"
#include "wal/segment.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>

#define META_PATH TEST_DIR "/meta"

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

/* Key files of the tests; TEST_KEY_A alone is what test_keys() has. */
enum ring {
    RING_NONE,
    RING_A,
    RING_PLAIN_A,
    RING_B_A,
    RING_A_B,
    RING_PLAIN_B_A,
    RING_ONLY_A,
    RINGS
};

static const struct brd_keyring *
ring_of(enum ring which)
{
    static const char *const texts[RINGS] = { NULL,
                                              TEST_KEY_A,
                                              "plain\n" TEST_KEY_A,
                                              TEST_KEY_B "\n" TEST_KEY_A,
                                              TEST_KEY_A "\n" TEST_KEY_B,
                                              "plain\n" TEST_KEY_B "\n" TEST_KEY_A,
                                              "only\n" TEST_KEY_A };
    static struct brd_keyring *rings[RINGS];

    if (texts[which] != NULL && rings[which] == NULL)
        rings[which] = test_ring(texts[which]);
    return rings[which];
}

/* The next life has these. */
static void
use_keys(enum ring which)
{
    test.options.keys = ring_of(which);
}

/* Another disk from now on. Returns the one before. */
static struct faulty *
use_disk(struct faulty *disk)
{
    struct faulty *before = test.disk;

    test.disk = disk;
    test.options.io = faulty_io(disk);
    return before;
}

/* Read all of it, changing nothing. */
static enum brd_status
look(void)
{
    enum brd_status status;

    memset(&test.error, 0, sizeof(test.error));
    test.options.read_only = true;
    status = test_read(&test);
    brd_wal_close(&test.wal);
    test.options.read_only = false;
    return status;
}

/* Neither a start nor a tool takes it: the file is named, the reason, and what to do. */
static void
must_refuse(const char *path, const char *why)
{
    uint64_t before = faulty_fingerprint(test.disk);
    int round;

    for (round = 0; round < 2; round++) {
        enum brd_status status = round == 0 ? look() : test_open(&test);

        ck_assert_msg(status == BRD_CORRUPT, "%s: %s", brd_status_name(status), test.error.text);
        ck_assert_msg(strstr(test.error.text, why) != NULL, "%s", test.error.text);
        ck_assert_msg(strstr(test.error.text, "brindle-wal repair") != NULL, "%s", test.error.text);
        ck_assert_ptr_nonnull(strstr(test.error.text, path));
        ck_assert_str_eq(test.error.path, path);
        ck_assert_ptr_null(test.wal);
    }
    ck_assert_uint_eq(faulty_fingerprint(test.disk), before);
}

static void
must_read(uint64_t records)
{
    enum brd_status status = look();

    ck_assert_msg(status == BRD_OK, "%s: %s", brd_status_name(status), test.error.text);
    ck_assert_uint_eq(test.report.records, records);
}

/* Put a segment of one disk onto another. */
static void
plant(struct faulty *to, struct faulty *from, uint64_t number)
{
    struct brd_bytes content = faulty_content(from, test_segment(number));

    ck_assert_ptr_nonnull(content.data);
    faulty_set_content(to, test_segment(number), content);
}

/* ---- meta as it lies on the disk ---- */

static uint8_t *
slot_bytes(int i)
{
    struct brd_bytes content = faulty_content(test.disk, META_PATH);

    ck_assert_uint_ge(content.size, META_PAGE_BYTES + META_SLOT_BYTES);
    return (uint8_t *)(uintptr_t)content.data + (size_t)i * META_PAGE_BYTES;
}

/* Also while the log runs. False: so much is not there. */
static bool
read_file(const char *path, uint64_t offset, void *out, size_t size)
{
    const struct brd_io *io = test.options.io;
    int fd = io->open(io->ctx, path, O_RDONLY);
    size_t n = 0;

    if (fd >= 0)
        ck_assert_int_eq(brd_file_read(io, fd, out, size, offset, &n), 0);
    brd_file_close(io, &fd);
    return n == size;
}

static void
read_slot(int i, struct meta_slot *out_slot)
{
    ck_assert(read_file(META_PATH, (uint64_t)i * META_PAGE_BYTES, out_slot, sizeof(*out_slot)));
}

/* Of a slot of meta, or of the page of a segment's header. */
static void
fix_checksum(uint8_t *bytes, size_t size)
{
    const size_t at = offsetof(struct meta_slot, checksum);
    const uint8_t none[4] = { 0 };
    uint32_t crc = brd_crc32c(0, bytes, at);

    static_assert(offsetof(struct segment_header, checksum) == offsetof(struct meta_slot, checksum),
                  "on-disk format");
    crc = brd_crc32c(crc, none, sizeof(none));
    brd_store_le32(bytes + at, brd_crc32c(crc, bytes + at + 4, size - at - 4));
}

/* Sign a slot as it is now. */
static void
sign_slot(int i)
{
    uint8_t *sector = slot_bytes(i);
    struct brd_seal *seal = NULL;
    struct meta_slot slot;

    read_slot(i, &slot);
    slot.checksum = 0;
    memset(slot.mac, 0, sizeof(slot.mac));
    memcpy(sector, &slot, sizeof(slot));
    if ((slot.flags & META_SEALED) != 0) {
        ck_assert_int_eq(keys_open_meta(test.options.keys, slot.key_id, slot.uuid, &seal), BRD_OK);
        ck_assert_int_eq(brd_seal_mac(seal, brd_bytes(sector, META_SLOT_BYTES), slot.mac), BRD_OK);
        brd_seal_close(&seal);
        memcpy(sector, &slot, sizeof(slot));
    }
    fix_checksum(sector, META_SLOT_BYTES);
}

static bool
is_used(int i)
{
    struct meta_slot slot;

    read_slot(i, &slot);
    return slot.magic == META_MAGIC;
}

/* As a version wrote it that knew nothing of these fields. */
static void
make_meta_older(void)
{
    int i;

    for (i = 0; i < 2; i++) {
        struct meta_slot slot;

        if (!is_used(i))
            continue;
        read_slot(i, &slot);
        slot.flags &= ~META_ALL_SEALED;
        memset(slot.newest_salt, 0, sizeof(slot.newest_salt));
        memcpy(slot_bytes(i), &slot, sizeof(slot));
        sign_slot(i);
    }
}

static bool
slot_says_sealed(int i)
{
    struct meta_slot slot;

    read_slot(i, &slot);
    return is_used(i) && (slot.flags & META_ALL_SEALED) != 0;
}

/* Both slots say so, or neither does. */
static bool
meta_says_sealed(void)
{
    ck_assert_int_eq(slot_says_sealed(0), slot_says_sealed(1));
    return slot_says_sealed(0);
}

/* How many segments are there from this number on that were begun, and are under no key? */
static int
count_plain(uint64_t first)
{
    int count = 0;
    uint64_t number;

    for (number = first; number < first + 100; number++) {
        struct segment_header header;

        count += read_file(test_segment(number), 0, &header, sizeof(header)) &&
                 header.magic == SEGMENT_MAGIC && keys_is_plain(header.key_id);
    }
    return count;
}

/* ---- Plain segments ---- */

/* A life on a copy of the disk, under these keys. Returns the copy; `from` is left as it was. */
static struct faulty *
live_on_copy(struct faulty *from, enum ring which, uint64_t groups)
{
    struct faulty *copy = faulty_clone(from);

    use_disk(copy);
    use_keys(which);
    test_up(&test);
    test_append_groups(&test, groups, BRD_DURABILITY_FULL);
    test_kill(&test);
    use_keys(RING_A);
    use_disk(from);
    return copy;
}

START_TEST(a_plain_segment_behind_the_last_is_refused)
{
    struct faulty *copy;

    test_up(&test);
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    if (_i == 0)
        test_kill(&test);
    else
        test_down(&test);
    copy = live_on_copy(test.disk, RING_PLAIN_A, 3);
    plant(test.disk, copy, 2);
    must_refuse(test_segment(2), "not encrypted");
    /* A page of zeros is no segment, nor are zeros with something behind them. */
    memset((uint8_t *)(uintptr_t)faulty_content(test.disk, test_segment(2)).data, 0,
           SEGMENT_HEADER_BYTES);
    must_read(5);
    /* Where meta does not say that all was encrypted it may have been us. */
    plant(test.disk, copy, 2);
    make_meta_older();
    must_read(8);
    faulty_destroy(&copy);
}
END_TEST

START_TEST(a_plain_segment_in_place_of_one_is_refused)
{
    struct segment_header header;
    uint8_t *page;

    test_up(&test);
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    test_kill(&test);
    page = (uint8_t *)(uintptr_t)faulty_content(test.disk, test_segment(1)).data;
    memcpy(&header, page, sizeof(header));
    header.flags = 0;
    header.cipher = 0;
    memset(header.key_id, 0, sizeof(header.key_id));
    memset(header.mac, 0, sizeof(header.mac));
    memcpy(page, &header, sizeof(header));
    fix_checksum(page, SEGMENT_HEADER_BYTES);
    must_refuse(test_segment(1), "not encrypted");
}
END_TEST

/* Meta itself may be one that nobody signed. Only what lies elsewhere can tell. */
START_TEST(a_plain_directory_in_place_of_an_encrypted_one_is_refused_by_who_knows)
{
    use_keys(RING_NONE);
    test_up(&test);
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    test_down(&test);
    use_keys(RING_A);
    must_read(5); /* it may be that encryption is being turned on */
    use_keys(RING_ONLY_A);
    ck_assert_int_eq(look(), BRD_CORRUPT);
    ck_assert_str_eq(test.error.path, META_PATH);
    ck_assert_ptr_nonnull(strstr(test.error.text, "not encrypted"));
    ck_assert_ptr_nonnull(strstr(test.error.text, "(only)"));
}
END_TEST

START_TEST(who_knows_does_not_need_meta_for_it)
{
    struct faulty *copy;

    use_keys(RING_ONLY_A);
    test_up(&test);
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    test_kill(&test);
    copy = live_on_copy(test.disk, RING_PLAIN_A, 3);
    make_meta_older();
    use_keys(RING_ONLY_A);
    must_read(5);
    plant(test.disk, copy, 2);
    ck_assert_int_eq(look(), BRD_CORRUPT);
    ck_assert_str_eq(test.error.path, test_segment(2));
    ck_assert_ptr_nonnull(strstr(test.error.text, "(only)"));
    faulty_remove(test.disk, test_segment(2));
    test_up(&test);
    ck_assert(brd_wal_all_sealed(test.wal));
    faulty_destroy(&copy);
}
END_TEST

/* ---- Segments of a directory that goes back to the same one ---- */

/* Two lives of five groups each behind what is on the disk, in a copy. */
static struct faulty *
make_fork(void)
{
    struct faulty *origin = test.disk;
    struct faulty *first = live_on_copy(origin, RING_A, 5);
    struct faulty *second = live_on_copy(first, RING_A, 5);

    use_disk(origin);
    faulty_destroy(&first);
    return second;
}

START_TEST(a_segment_of_a_fork_is_refused_under_a_number_that_meta_knows)
{
    struct faulty *origin;
    struct faulty *fork;
    struct faulty *ours;

    test_up(&test);
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    test_kill(&test);
    origin = test.disk;
    fork = make_fork();
    use_disk(origin);
    test_up(&test);
    test_append_groups(&test, 2, BRD_DURABILITY_FULL);
    test_kill(&test);
    ours = faulty_clone(test.disk);

    plant(test.disk, fork, 2); /* in place of ours */
    must_refuse(test_segment(2), "not the segment that was written here");
    plant(test.disk, fork, 3); /* and what it goes on with */
    must_refuse(test_segment(2), "not the segment that was written here");
    plant(test.disk, ours, 2); /* behind ours: salts are bound to each other */
    ck_assert_int_eq(look(), BRD_CORRUPT);
    ck_assert_str_eq(test.error.path, test_segment(3));
    ck_assert_ptr_nonnull(strstr(test.error.text, "does not continue"));
    faulty_remove(test.disk, test_segment(3));
    must_read(7);

    /* As long as meta does not know the salt, nothing tells them apart. */
    plant(test.disk, fork, 2);
    make_meta_older();
    must_read(10);
    faulty_destroy(&fork);
    faulty_destroy(&ours);
}
END_TEST

/* Wait until meta vouches for all that was written. */
static void
wait_for_meta(void)
{
    struct brd_wal_position written = brd_wal_written(test.wal);
    struct meta meta = { .doubtful = false };

    do {
        struct brd_wal_error error;

        brd_clock_advance(test.clock, BRD_NS_PER_S);
        sched_yield();
        ck_assert_int_eq(meta_load(test.options.io, TEST_DIR, test.options.keys, &meta, &error),
                         BRD_OK);
    } while (meta.slot.synced_lsn < written.lsn);
}

START_TEST(a_segment_of_a_fork_is_refused_above_what_meta_knows)
{
    struct faulty *origin;
    struct faulty *backup;
    struct faulty *fork;

    test_up(&test);
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    backup = faulty_clone(test.disk);
    test_append_groups(&test, 3, BRD_DURABILITY_FULL);
    wait_for_meta();
    test_kill(&test);
    origin = use_disk(backup);
    fork = make_fork();
    use_disk(origin);
    must_read(8);
    plant(test.disk, fork, 2); /* it begins where the backup ended */
    must_refuse(test_segment(2), "it begins before what had been synced");
    faulty_destroy(&backup);
    faulty_destroy(&fork);
}
END_TEST

START_TEST(nothing_comes_behind_an_orderly_stop)
{
    struct faulty *fork;

    test_up(&test);
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    if (_i == 0)
        test_down(&test);
    else
        test_kill(&test);
    fork = make_fork();
    plant(test.disk, fork, 2);
    if (_i == 0)
        must_refuse(test_segment(2), "the last stop was orderly");
    else
        must_read(10); /* after a crash it might be ours: this stays open */
    plant(test.disk, fork, 3);
    if (_i == 0)
        must_refuse(test_segment(2), "the last stop was orderly");
    else
        must_read(15);
    make_meta_older();
    must_read(15);
    faulty_destroy(&fork);
}
END_TEST

/* One slot is damaged: the other one may be older, and must not speak of what came later. */
static void
must_read_with_either_slot(uint64_t records)
{
    int i;

    for (i = 0; i < 2; i++) {
        if (!is_used(1 - i))
            continue;
        slot_bytes(i)[0] ^= 1;
        must_read(records);
        slot_bytes(i)[0] ^= 1;
    }
}

START_TEST(an_orderly_stop_knows_what_was_just_begun)
{
    struct brd_wal_identity identity;
    struct brd_wal_position position;
    int life;

    for (life = 0; life < 3; life++) {
        test_up(&test);
        test_append_groups(&test, 5, BRD_DURABILITY_FULL);
        /* Nothing is ever synced in the segment that begins here. */
        ck_assert_int_eq(brd_wal_rotate(test.wal, &position), BRD_OK);
        if (life == 1)
            test_kill(&test);
        else
            test_down(&test);
        must_read(5 * (uint64_t)(life + 1));
        must_read_with_either_slot(5 * (uint64_t)(life + 1));
        ck_assert_int_eq(test_open(&test), BRD_OK);
        brd_wal_get_identity(test.wal, &identity);
        ck_assert(identity.clean == (life != 1));
        ck_assert_uint_eq(identity.newest_segment, 2 * (uint64_t)(life + 1) - (life == 1));
        brd_wal_close(&test.wal);
    }
}
END_TEST

/* Two changes of keys in which nothing is written: a segment is left without any record in it, and
 * so without any sync of its header. */
START_TEST(an_orderly_stop_makes_what_it_tells_of_durable)
{
    struct brd_wal_position position;

    test_up(&test);
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    ck_assert_int_eq(brd_wal_set_keys(test.wal, ring_of(RING_B_A)), BRD_OK);
    ck_assert_int_eq(brd_wal_rotate(test.wal, &position), BRD_OK);
    ck_assert_int_eq(brd_wal_set_keys(test.wal, ring_of(RING_A_B)), BRD_OK);
    ck_assert_int_eq(brd_wal_rotate(test.wal, &position), BRD_OK);
    test_down(&test);
    faulty_cut(test.disk);
    faulty_reboot(test.disk, FAULTY_KEEP_NONE, 1);
    use_keys(RING_A_B);
    must_read(5);
}
END_TEST

/* ---- Directories of earlier versions ---- */

START_TEST(an_older_directory_gets_what_meta_should_know)
{
    struct meta_slot slots[2];
    int i;

    test_up(&test);
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    if (_i % 2 == 0)
        test_kill(&test);
    else
        test_down(&test);
    make_meta_older();
    must_read(5);
    ck_assert(!meta_says_sealed());
    test_up(&test);
    ck_assert(!brd_wal_all_sealed(test.wal));
    ck_assert(!meta_says_sealed());
    ck_assert_int_eq(brd_wal_note_sealed(test.wal), BRD_OK);
    ck_assert(meta_says_sealed());
    ck_assert_int_eq(brd_wal_note_sealed(test.wal), BRD_OK);
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    if (_i / 2 == 0)
        test_kill(&test);
    else
        test_down(&test);
    must_read(10);
    for (i = 0; i < 2; i++)
        read_slot(i, &slots[i]);
    ck_assert(meta_says_sealed());
    for (i = 0; i < 2; i++)
        ck_assert(meta_knows_newest(&slots[i]));
    ck_assert_int_eq(test_open(&test), BRD_OK);
    ck_assert(brd_wal_all_sealed(test.wal));
}
END_TEST

/* Version 1.0.0 noted at a start how far the log that it had found was synced, before it noted the
 * newest segment of that. */
START_TEST(an_older_directory_may_have_been_left_in_the_middle_of_a_start)
{
    struct brd_wal_position position;
    struct segment_header first;
    int i;

    test_up(&test);
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    ck_assert_int_eq(brd_wal_rotate(test.wal, &position), BRD_OK);
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    test_kill(&test);
    ck_assert(read_file(test_segment(1), 0, &first, sizeof(first)));
    for (i = 0; i < 2; i++) {
        struct meta_slot slot;

        read_slot(i, &slot);
        meta_set_newest(&slot, 1, first.salt);
        slot.synced_lsn = position.lsn + 64;
        memcpy(slot_bytes(i), &slot, sizeof(slot));
        sign_slot(i);
    }
    must_refuse(test_segment(2), "before what had been synced"); /* of this version */
    make_meta_older();
    must_read(10);
    test_up(&test);
    test_down(&test);
    must_read(10);
}
END_TEST

START_TEST(a_slot_that_is_not_signed_cannot_say_that_all_is_encrypted)
{
    struct meta_slot slot;

    use_keys(RING_NONE);
    test_up(&test);
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    test_kill(&test);
    read_slot(1, &slot);
    slot.flags |= META_ALL_SEALED;
    memcpy(slot_bytes(1), &slot, sizeof(slot));
    sign_slot(1);
    ck_assert_int_eq(look(), BRD_CORRUPT);
    ck_assert_str_eq(test.error.path, META_PATH);
    ck_assert_ptr_nonnull(strstr(test.error.text, "authentication failed"));
}
END_TEST

/* ---- On and off ---- */

static enum brd_status
replace_segments(void)
{
    struct brd_wal_position position;
    enum brd_status status = brd_wal_rotate(test.wal, &position);

    if (status == BRD_OK)
        status = brd_wal_wait_synced(test.wal, position.version);
    return status == BRD_OK ? brd_wal_release(test.wal, position.version) : status;
}

static enum brd_status
change_keys(enum ring which)
{
    use_keys(which);
    return brd_wal_set_keys(test.wal, test.options.keys);
}

START_TEST(meta_says_that_all_is_encrypted_as_long_as_it_is)
{
    test_up(&test);
    ck_assert(meta_says_sealed()); /* from the beginning */
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    ck_assert_int_eq(change_keys(RING_B_A), BRD_OK);
    ck_assert(meta_says_sealed());
    ck_assert_int_eq(replace_segments(), BRD_OK);
    ck_assert_int_eq(brd_wal_note_sealed(test.wal), BRD_OK);
    ck_assert(meta_says_sealed());
    /* Off: before anything plain is begun. */
    ck_assert_int_eq(change_keys(RING_PLAIN_B_A), BRD_OK);
    ck_assert(!meta_says_sealed());
    ck_assert_int_eq(count_plain(1), 0);
    ck_assert_int_eq(brd_wal_note_sealed(test.wal), BRD_OK);
    ck_assert(!meta_says_sealed());
    ck_assert_int_eq(replace_segments(), BRD_OK);
    ck_assert_int_gt(count_plain(1), 0);
    /* On: when the last one is gone, and not only the current one another. */
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    ck_assert_int_eq(change_keys(RING_B_A), BRD_OK);
    ck_assert_int_eq(brd_wal_note_sealed(test.wal), BRD_OK);
    ck_assert(!meta_says_sealed());
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    {
        struct brd_wal_position position;

        ck_assert_int_eq(brd_wal_rotate(test.wal, &position), BRD_OK);
        test_append_groups(&test, 5, BRD_DURABILITY_FULL);
        ck_assert_int_eq(brd_wal_note_sealed(test.wal), BRD_OK);
        ck_assert(!meta_says_sealed());
        ck_assert_int_eq(brd_wal_release(test.wal, position.version), BRD_OK);
    }
    ck_assert_int_eq(count_plain(1), 0);
    ck_assert(!meta_says_sealed());
    while (!brd_wal_is_under(test.wal, brd_keyring_current(test.options.keys)))
        sched_yield();
    ck_assert_int_eq(brd_wal_note_sealed(test.wal), BRD_OK);
    ck_assert(meta_says_sealed());
    test_kill(&test);
    test.next = 15;
    ck_assert_int_eq(test_open(&test), BRD_OK);
    ck_assert(brd_wal_all_sealed(test.wal));
    brd_wal_close(&test.wal);
    /* Off and on at a start. */
    use_keys(RING_PLAIN_B_A);
    ck_assert_int_eq(test_open(&test), BRD_OK);
    ck_assert_int_eq(brd_wal_replay(test.wal, NULL, NULL, &test.report, &test.error), BRD_OK);
    ck_assert_int_eq(brd_wal_start(test.wal, &test.error), BRD_OK);
    ck_assert(!meta_says_sealed());
    ck_assert_int_gt(count_plain(1), 0);
}
END_TEST

/* Where meta cannot be stored encryption stays on. */
START_TEST(it_is_not_turned_off_where_meta_cannot_say_so)
{
    test_up(&test);
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    if (_i == 0) {
        faulty_fail_path(test.disk, "meta");
        faulty_fail(test.disk, FAULTY_FDATASYNC, 1, 0, EIO);
    } else {
        brd_wal_interrupt(test.wal);
    }
    ck_assert_int_eq(brd_wal_set_keys(test.wal, ring_of(RING_PLAIN_A)),
                     _i == 0 ? BRD_READ_ONLY : BRD_SHUTTING_DOWN);
    ck_assert_int_eq(brd_wal_poisoned(test.wal), _i == 0);
    if (_i == 0)
        return;
    test_append_groups(&test, 2000, BRD_DURABILITY_NORMAL);
    ck_assert_int_eq(count_plain(1), 0);
}
END_TEST

static bool hooked;

/* The writer is about to write a plain header when the key changes back. */
static void
change_back(void *arg, enum faulty_kind kind)
{
    char name[16] = "";

    (void)arg;
    if (kind != FAULTY_WRITE || pthread_getname_np(pthread_self(), name, sizeof(name)) != 0 ||
        strcmp(name, "wal-write") != 0 || hooked)
        return;
    hooked = true;
    ck_assert_int_eq(change_keys(RING_B_A), BRD_OK);
    ck_assert_int_eq(brd_wal_note_sealed(test.wal), BRD_OK);
    ck_assert(!meta_says_sealed());
}

START_TEST(what_the_writer_has_in_hand_counts)
{
    struct brd_wal_position position;
    struct meta meta = { .doubtful = false };
    struct brd_wal_disk disk;

    test_up(&test);
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    ck_assert_int_eq(change_keys(RING_PLAIN_B_A), BRD_OK);
    /* Nobody else has anything to write. */
    do {
        struct brd_wal_error error;

        sched_yield();
        brd_wal_get_disk(test.wal, &disk);
        ck_assert_int_eq(meta_load(test.options.io, TEST_DIR, test.options.keys, &meta, &error),
                         BRD_OK);
    } while (disk.begin_bytes != 0 || !keys_is_plain(meta.slot_keys[0]) ||
             !keys_is_plain(meta.slot_keys[1]));
    hooked = false;
    ck_assert_int_eq(count_plain(1), 0);
    faulty_set_hook(test.disk, change_back, NULL);
    ck_assert_int_eq(brd_wal_rotate(test.wal, &position), BRD_OK);
    faulty_set_hook(test.disk, NULL, NULL);
    ck_assert(hooked);
    ck_assert_int_eq(count_plain(1), 1);
    ck_assert_int_eq(brd_wal_note_sealed(test.wal), BRD_OK);
    ck_assert(!meta_says_sealed());
    test_append_groups(&test, 1, BRD_DURABILITY_FULL);
    ck_assert_int_eq(replace_segments(), BRD_OK);
    ck_assert_int_eq(brd_wal_note_sealed(test.wal), BRD_OK);
    ck_assert(meta_says_sealed());
}
END_TEST

/* ---- Power ---- */

/* From one way to keep the data to the other, while the log runs or by a start. */
struct change {
    enum ring before, with;
    bool running;
};

static const struct change changes[] = {
    { RING_A, RING_PLAIN_B_A, true },
    { RING_A, RING_PLAIN_B_A, false },
    { RING_PLAIN_A, RING_B_A, true },
    { RING_PLAIN_A, RING_B_A, false },
};

static void
change_and_replace(const struct change *change)
{
    use_keys(change->running ? change->before : change->with);
    if (test_try_up(&test) != BRD_OK)
        return;
    test_append_many(&test, 1, true);
    if (change->running && change_keys(change->with) != BRD_OK)
        return;
    if (replace_segments() != BRD_OK)
        return;
    test_append_many(&test, 1, true);
    while (!brd_wal_poisoned(test.wal) &&
           !brd_wal_is_under(test.wal, brd_keyring_current(test.options.keys)))
        sched_yield();
    if (brd_wal_note_sealed(test.wal) != BRD_OK)
        return;
    test_append_many(&test, 1, true);
    if (brd_wal_stop(test.wal) == BRD_OK)
        ck_assert(meta_says_sealed() == (change->with == RING_B_A));
}

/* What any slot says is so, even if it is the older one. */
static void
check_slots(long nth)
{
    int i;

    for (i = 0; i < 2; i++) {
        enum brd_status status;
        struct meta_slot slot;

        /* What was released may come back with the power, and does not count. */
        read_slot(i, &slot);
        ck_assert_msg(!slot_says_sealed(i) || count_plain(slot.first_segment) == 0,
                      "cut %ld: slot %d", nth, i);
        if (!is_used(1 - i))
            continue;
        slot_bytes(i)[0] ^= 1;
        test.options.read_only = true;
        status = test_open(&test);
        test.options.read_only = false;
        brd_wal_close(&test.wal);
        ck_assert_msg(status == BRD_OK, "cut %ld: without slot %d: %s", nth, i, test.error.text);
        slot_bytes(i)[0] ^= 1;
    }
}

START_TEST(power_may_fail_anywhere_while_encryption_is_turned_on_or_off)
{
    const struct change *change = &changes[_i];
    uint64_t random = test_seed();
    struct faulty *origin;
    bool cut = true;
    long nth;

    use_keys(change->before);
    test_up(&test);
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    test_down(&test);
    origin = faulty_clone(test.disk);
    for (nth = 1; cut; nth++) {
        faulty_destroy(&test.disk);
        use_disk(faulty_clone(origin));
        faulty_cut_at(test.disk, nth);
        change_and_replace(change);
        cut = faulty_is_cut(test.disk);
        brd_wal_close(&test.wal);
        faulty_reboot(test.disk, (enum faulty_keep)(nth % 3), test_random(&random));
        use_keys(change->with);
        check_slots(nth);
        ck_assert_msg(test_open(&test) == BRD_OK, "cut %ld: %s", nth, test.error.text);
        ck_assert_int_eq(brd_wal_replay(test.wal, NULL, NULL, &test.report, &test.error), BRD_OK);
        ck_assert_int_eq(brd_wal_start(test.wal, &test.error), BRD_OK);
        ck_assert_int_eq(replace_segments(), BRD_OK);
        ck_assert_int_eq(brd_wal_note_sealed(test.wal), BRD_OK);
        ck_assert(meta_says_sealed() == (change->with == RING_B_A));
        test_down(&test);
        ck_assert_int_eq(look() == BRD_CORRUPT, false);
    }
    ck_assert_int_gt(nth, 25);
    printf("%ld cuts\n", nth - 2);
    faulty_destroy(&origin);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("wal foreign");
    TCase *tcase = tcase_create("foreign");

    tcase_set_timeout(tcase, 300);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, a_plain_segment_behind_the_last_is_refused, 0, 2);
    tcase_add_test(tcase, a_plain_segment_in_place_of_one_is_refused);
    tcase_add_test(tcase, a_plain_directory_in_place_of_an_encrypted_one_is_refused_by_who_knows);
    tcase_add_test(tcase, who_knows_does_not_need_meta_for_it);
    tcase_add_test(tcase, a_segment_of_a_fork_is_refused_under_a_number_that_meta_knows);
    tcase_add_test(tcase, a_segment_of_a_fork_is_refused_above_what_meta_knows);
    tcase_add_loop_test(tcase, nothing_comes_behind_an_orderly_stop, 0, 2);
    tcase_add_test(tcase, an_orderly_stop_knows_what_was_just_begun);
    tcase_add_test(tcase, an_orderly_stop_makes_what_it_tells_of_durable);
    tcase_add_loop_test(tcase, an_older_directory_gets_what_meta_should_know, 0, 4);
    tcase_add_test(tcase, an_older_directory_may_have_been_left_in_the_middle_of_a_start);
    tcase_add_test(tcase, a_slot_that_is_not_signed_cannot_say_that_all_is_encrypted);
    tcase_add_test(tcase, meta_says_that_all_is_encrypted_as_long_as_it_is);
    tcase_add_loop_test(tcase, it_is_not_turned_off_where_meta_cannot_say_so, 0, 2);
    tcase_add_test(tcase, what_the_writer_has_in_hand_counts);
    tcase_add_loop_test(tcase, power_may_fail_anywhere_while_encryption_is_turned_on_or_off, 0, 4);
    suite_add_tcase(suite, tcase);
    return test_main_of(suite, false);
}
