/* Snapshots: all entries of the data directory's namespaces in one file.
 *
 *   DIR/snapshots/START.snap   START: 16 hex digits, the version it begins at
 *   DIR/snapshots/START.tmp    one that was never finished
 *
 *   header page, 4 KiB | blocks | footer      (docs/formats.md has the tables)
 *
 * A snapshot is fuzzy: it was written while others wrote. It holds for every key
 * that was there at `start` and not changed later its value, and for others the
 * value of some moment between `start` and `end`; the log from start to end makes
 * of it the state at `end`, and what follows the state at any later time.
 *
 * A block is read, checked and applied by itself, in any order: each entry in it
 * carries its version. Its checksum covers the file's salt and its number, so that
 * no block of another file, and nothing a user stored, is taken for it.
 *
 * A sealed snapshot (SNAPSHOT_SEALED in its header) has keys of its own (seal/seal.h),
 * derived from its salt, the directory's identity and its start version. The records of a
 * block are encrypted under the number of the block, with its header bound in; header and
 * footer stay readable and carry a MAC, so that nothing can be cut off, moved or changed.
 *
 * Errors of writing are 0 or -errno; nobody sees the file before it is whole. */
#ifndef BRD_ENGINE_SNAPSHOT_H
#define BRD_ENGINE_SNAPSHOT_H

#include "base/blob.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/lock.h"
#include "engine/engine.h"
#include "seal/seal.h"
#include "wal/wal.h"

#include <assert.h>

#define SNAPSHOT_MAGIC        UINT64_C(0x31504e534c445242) /* "BRDLSNP1" */
#define SNAPSHOT_FORMAT       UINT32_C(1)
#define SNAPSHOT_HEADER_BYTES 4096
#define SNAPSHOT_BLOCK_MAGIC  UINT32_C(0x42445242) /* "BRDB" */
#define SNAPSHOT_FOOTER_MAGIC UINT32_C(0x46445242) /* "BRDF" */
#define SNAPSHOT_BLOCK_BYTES  ((size_t)256 << 10)  /* a block is closed at this size */
#define SNAPSHOT_SEALED       UINT32_C(1)          /* flag of a header and of its blocks */

struct snapshot_header {
    uint64_t magic;
    uint32_t format;
    uint32_t checksum; /* CRC32C of the whole page with this field 0 */
    uint8_t uuid[16];  /* of the data directory */
    uint8_t salt[16];  /* random, of this file */
    uint64_t start_version;
    uint64_t created_ns;               /* wall clock, for people */
    uint32_t epoch;                    /* of the process that wrote it */
    uint32_t flags;                    /* SNAPSHOT_SEALED */
    uint8_t key_id[BRD_SEAL_ID_BYTES]; /* zeros: not sealed, and what follows is zeros too */
    uint32_t cipher;                   /* enum brd_seal_cipher */
    uint32_t reserved;
    uint8_t mac[BRD_SEAL_TAG_BYTES]; /* of the whole page with this and the checksum 0 */
};
static_assert(sizeof(struct snapshot_header) == 112, "on-disk format");

/* Records follow: varint version, varint size, and a change of kind PUT
 * (engine/mutation.h) of that size. Where the block is sealed they are encrypted, and a
 * tag of BRD_SEAL_TAG_BYTES stands behind them. */
struct snapshot_block_header {
    uint32_t magic;
    uint32_t checksum; /* CRC32C of the salt, then of all behind this field, tag included */
    uint32_t flags;    /* SNAPSHOT_SEALED; one will say that the payload is compressed */
    uint32_t length;   /* bytes of records, without the tag */
    uint64_t number;   /* from 0 */
    uint32_t records;
    uint32_t reserved; /* 0 */
};
static_assert(sizeof(struct snapshot_block_header) == 32, "on-disk format");

struct snapshot_footer {
    uint32_t magic;
    uint32_t checksum;    /* CRC32C of the salt, then of all behind this field */
    uint64_t end_version; /* no entry is newer */
    uint64_t blocks;
    uint64_t records;
    uint64_t bytes; /* of the file before the footer */
};
static_assert(sizeof(struct snapshot_footer) == 40, "on-disk format");

/* How a sealed file ends; the checksum covers the MAC too. */
struct snapshot_sealed_footer {
    struct snapshot_footer footer;
    uint8_t mac[BRD_SEAL_TAG_BYTES]; /* of all 56 bytes with this and the checksum 0 */
};
static_assert(sizeof(struct snapshot_sealed_footer) == 56, "on-disk format");

/* ---- Errors ---- */

/* Fill error; each returns the status. */
enum brd_status
snapshot_error(struct brd_snapshot_error *error, enum brd_status status, const char *path,
               uint64_t offset, const char *format, ...) __attribute__((format(printf, 5, 6)));
/* BRD_CORRUPT: "PATH is damaged at offset OFFSET: WHY". */
enum brd_status snapshot_damage(struct brd_snapshot_error *error, const char *path, uint64_t offset,
                                const char *why);
/* The status of a -errno: "cannot ACTION PATH: REASON". */
enum brd_status snapshot_io_error(struct brd_snapshot_error *error, int result, const char *action,
                                  const char *path);

/* ---- Writing ---- */

struct snapshot_writer {
    const struct brd_io *io;
    char *dir;      /* owned: DIR/snapshots */
    char *path;     /* owned: of the finished file */
    char *tmp_path; /* owned */
    int fd;
    uint32_t seed;
    uint64_t offset;   /* where the next block goes */
    uint64_t unsynced; /* bytes since the last sync */
    uint64_t blocks, records;
    uint32_t block_records;
    struct brd_buf block;  /* room for the header, then records */
    struct brd_seal *seal; /* owned; NULL: the file is not sealed */
    struct brd_buf sealed; /* the records of a block with a large value, encrypted */
};

/* Begin a file: of header are used uuid, start_version, created_ns, epoch, and cipher (0: the
 * machine's preferred one). Leftovers of unfinished snapshots are removed. On an error
 * nothing is open.
 *
 * keys   the file is sealed under the current one; NULL, or none is current: it is not.
 *        Not needed after the call. */
BRD_MUST_CHECK int snapshot_create(struct snapshot_writer *writer, const struct brd_io *io,
                                   const struct brd_keyring *keys, const char *data_dir,
                                   const struct snapshot_header *header);

/* Add an entry to the block in memory: no call of the system, so it may be done
 * under a stripe. Sticky: snapshot_flush tells that memory ran out. */
void snapshot_add(struct snapshot_writer *writer, uint64_t version, uint64_t ns,
                  struct brd_bytes key, uint64_t deadline_ms, struct brd_bytes value);

/* Add an entry whose value is large, as a block of its own, without copying it; where the
 * file is sealed, with one copy, which is encrypted. */
BRD_MUST_CHECK int
snapshot_add_large(struct snapshot_writer *writer, uint64_t version, uint64_t ns,
                   struct brd_bytes key, uint64_t deadline_ms, struct brd_bytes value);

/* Write the block in memory if it is full, or if `all` is said and there is one. */
BRD_MUST_CHECK int snapshot_flush(struct snapshot_writer *writer, bool all);

/* Footer, and all of it durable under its temporary name, where it can be read. */
BRD_MUST_CHECK int snapshot_complete(struct snapshot_writer *writer, uint64_t end_version);

/* The name that counts, and that durable; another file of the name is replaced. Frees
 * the writer's memory in any case; after an error the file is gone. */
BRD_MUST_CHECK int snapshot_publish(struct snapshot_writer *writer);

/* Give it up: the file goes. */
void snapshot_abandon(struct snapshot_writer *writer);

/* ---- Reading ---- */

struct snapshot_reader {
    const struct brd_io *io;
    char path[512];
    int fd;
    uint32_t seed;
    const struct brd_keyring *keys; /* borrowed until close */
    struct snapshot_header header;
    struct brd_snapshot_info info;
    uint64_t end; /* of the blocks */

    struct brd_mutex lock; /* BRD_RANK_ENGINE: where the next block is */
    uint64_t offset;
    uint64_t number;
    uint64_t records; /* of blocks handed out */
};

/* Open a file and check header and footer. keys: borrowed until close; NULL: none. Returns
 * BRD_OK, BRD_CORRUPT, BRD_WRONG_KEY (sealed under a key that is not in keys),
 * BRD_UNSUPPORTED (a newer format), BRD_IO_ERROR, BRD_OUT_OF_MEMORY. */
BRD_MUST_CHECK enum brd_status
snapshot_open(struct snapshot_reader *reader, const struct brd_io *io,
              const struct brd_keyring *keys, const char *path, struct brd_snapshot_error *error);
void snapshot_close(struct snapshot_reader *reader);

/* What one thread reads blocks with. */
struct snapshot_lane {
    struct brd_buf buf;
    struct brd_seal *seal; /* owned; NULL: the file is not sealed */
};

/* The reader is open, and closed after its lanes. Returns BRD_OK or BRD_OUT_OF_MEMORY; close
 * it in any case. */
BRD_MUST_CHECK enum brd_status
snapshot_lane_open(struct snapshot_lane *lane, const struct snapshot_reader *reader,
                   struct brd_snapshot_error *error);
void snapshot_lane_close(struct snapshot_lane *lane);

/* Read, check and decrypt the next block. *out_records: its records, in the lane until its
 * next block. Returns BRD_OK, BRD_NOT_FOUND (there are no more, and their number is
 * right), BRD_CORRUPT, BRD_UNSUPPORTED, BRD_IO_ERROR, BRD_OUT_OF_MEMORY. Any thread, each with
 * a lane of its own. */
BRD_MUST_CHECK enum brd_status
snapshot_next_block(struct snapshot_reader *reader, struct snapshot_lane *lane,
                    struct brd_bytes *out_records, uint64_t *out_offset,
                    struct brd_snapshot_error *error);

/* Take the next record from the front of *records: a version and the payload of a
 * change. False: the bytes are no record. */
BRD_MUST_CHECK bool snapshot_next_record(struct brd_bytes *records, uint64_t *out_version,
                                         struct brd_bytes *out_payload);

/* Read and check everything. */
BRD_MUST_CHECK enum brd_status
snapshot_verify(const struct brd_io *io, const struct brd_keyring *keys, const char *path,
                struct brd_snapshot_info *out_info, struct brd_snapshot_error *error);

/* Does the snapshot at path belong to this log?
 *
 * name_version   in the file's name
 * Returns BRD_OK or BRD_CORRUPT. Pure. */
BRD_MUST_CHECK enum brd_status
snapshot_check_fit(const struct brd_snapshot_info *info, const char *path, uint64_t name_version,
                   const struct brd_snapshot_log *log, struct brd_snapshot_error *error);

/* There is no snapshot: is that right for a log that begins at base_version?
 * Returns BRD_OK or BRD_CORRUPT. Pure. */
BRD_MUST_CHECK enum brd_status
snapshot_check_none(const char *data_dir, uint64_t base_version, struct brd_snapshot_error *error);

/* ---- Files ---- */

/* The start version in a file's name, or false if it is no snapshot's name. */
bool snapshot_version_of(const char *name, uint64_t *out_version);

/* "DIR/snapshots/0123456789abcdef.snap" in a new allocation, or NULL; and of one that is
 * not finished. */
char *snapshot_path(const char *data_dir, uint64_t start_version);
char *snapshot_tmp_path(const char *data_dir, uint64_t start_version);

/* The newest one. BRD_OK, BRD_NOT_FOUND (there is none), BRD_IO_ERROR. */
BRD_MUST_CHECK enum brd_status
snapshot_newest(const struct brd_io *io, const char *data_dir, uint64_t *out_start_version,
                struct brd_snapshot_error *error);

/* Remove those older than start_version, and what was never finished. What cannot
 * be removed is a warning. */
void snapshot_remove_older(const struct brd_io *io, const char *data_dir, uint64_t start_version);

/* Call fn with the path of each snapshot, finished or not, that is there now, and with the id
 * of the key that it is sealed under (zeros: not sealed), or NULL where it does not tell. Returns 0,
 * -errno, or what else fn returned. */
BRD_MUST_CHECK int
snapshot_list_keys(const struct brd_io *io, const char *data_dir, brd_wal_key_fn fn, void *arg);

#endif
