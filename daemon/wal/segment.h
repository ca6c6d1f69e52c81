/* One file of the log: its name, its header page, and how it is made.
 *
 * A segment is prepared (allocated, pre-written with zeros, its name durable)
 * before it is needed, and begun by writing its header. A page of zeros where
 * the header would be therefore means "prepared, never begun", or begun and
 * lost with everything in it. The header lies within one 512-byte sector, so
 * it is there or it is not. A prepared file may also be one that was a segment
 * before (spare.h): then only its header page is zeros. */
#ifndef BRD_WAL_SEGMENT_H
#define BRD_WAL_SEGMENT_H

#include "base/file.h"
#include "wal/keys.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>

#define SEGMENT_MAGIC        UINT64_C(0x314745534c445242) /* "BRDLSEG1" */
#define SEGMENT_FORMAT       UINT32_C(1)
#define SEGMENT_HEADER_BYTES 4096
#define SEGMENT_BYTES_MIN    (UINT64_C(2) * SEGMENT_HEADER_BYTES)

#define SEGMENT_RECYCLED    UINT32_C(1) /* behind the end lie bytes of an earlier life */
#define SEGMENT_SEALED      UINT32_C(2) /* its groups are encrypted, its header is signed */
#define SEGMENT_FLAGS_KNOWN (SEGMENT_RECYCLED | SEGMENT_SEALED)

struct segment_header {
    uint64_t magic;
    uint32_t format;
    uint32_t checksum; /* CRC32C of the whole page with this field 0 */
    uint8_t uuid[16];  /* of the data directory */
    uint8_t salt[16];  /* random, of this life of the file */
    uint64_t number;   /* also the file's name */
    uint64_t previous; /* the segment before; 0: none */
    uint8_t previous_salt[16];
    uint64_t start_lsn;    /* of the first group; the previous segment ends here */
    uint64_t synced_lsn;   /* everything before it was synced when this was written */
    uint64_t base_version; /* every version in the segment is above it */
    uint32_t epoch;        /* of all groups in the segment */
    uint32_t flags;
    uint64_t created_ns; /* wall clock, for people */
    uint8_t key_id[16];  /* zeros: not encrypted */
    uint32_t cipher;     /* of the groups; enum brd_seal_cipher, 0: not encrypted */
    uint32_t reserved;   /* 0 */
    uint8_t mac[16];     /* of the whole page with this and checksum 0; zeros: not encrypted */
};
static_assert(sizeof(struct segment_header) == 160, "on-disk format");

/* A segment that is open for writing. */
struct segment {
    struct segment *next; /* in a list of sealed ones */
    char *path;           /* owned */
    int fd;
    uint64_t room;         /* size of the file as prepared */
    uint64_t end;          /* where the next group goes; the writer's alone */
    uint32_t seed;         /* for checksums */
    bool recycled;         /* it had an earlier life (spare.h) */
    struct brd_seal *seal; /* owned; NULL: it is not encrypted */
    struct segment_header header;
};

/* "DIR/wal/0123456789abcdef.wal" in a new allocation, or NULL. */
char *segment_path(const char *dir, uint64_t number);

/* The number in a file's name, or 0 if it is no segment's name. */
uint64_t segment_number_of(const char *name);

/* Make the file for segment `number`, durably, with a header page of zeros. If a
 * file of the name is there (a preparation that was cut short) it is replaced.
 *
 * bytes     size of the file
 * prewrite  how many of them are written with zeros and synced: syncs of later
 *           writes there are cheaper, because the file's map does not change
 * hurry     stop pre-writing when it becomes true; may be NULL
 * Returns 0 or -errno (nothing is left behind then, as far as possible). */
int segment_prepare(const struct brd_io *io, const char *dir, uint64_t number, uint64_t bytes,
                    uint64_t prewrite, const _Atomic bool *hurry, struct segment **out_segment);

/* Make the names in DIR/wal durable. Returns 0 or -errno. */
int segment_sync_names(const struct brd_io *io, const char *dir);

/* Let it be encrypted under the ring's current key when it is begun; not where there is none
 * (keys NULL is fine). uuid is the directory's. Returns 0 or -ENOMEM. */
BRD_MUST_CHECK int
segment_seal(struct segment *segment, const struct brd_keyring *keys, const uint8_t *uuid);

/* Begin it: write header, of which magic, format, number, salt, SEGMENT_RECYCLED, checksum and
 * what belongs to the key are filled in here. Not synced. Returns 0 or -errno. */
int segment_begin(const struct brd_io *io, struct segment *segment,
                  const struct segment_header *header);

/* Close the file and free. NULL is fine. */
void segment_close(const struct brd_io *io, struct segment **segment);

/* What a header page is. */
enum segment_verdict {
    SEGMENT_VALID,
    SEGMENT_EMPTY,   /* zeros, or a file too short to have any */
    SEGMENT_BAD,     /* neither */
    SEGMENT_UNKNOWN, /* valid, of a later format or with flags of one */
};

/* Judge a header page of which size bytes could be read (others count as 0). */
enum segment_verdict
segment_parse(const uint8_t *page, size_t size, struct segment_header *out_header);

/* Judge who wrote a page that is SEGMENT_VALID, with the key that it names. BRD_OK: whoever has
 * the key, or nobody says that it is encrypted; BRD_CORRUPT: not so; BRD_WRONG_KEY;
 * BRD_UNSUPPORTED (the cipher); BRD_OUT_OF_MEMORY. path is for the error. */
BRD_MUST_CHECK enum brd_status
segment_verify(const uint8_t *page, const struct segment_header *header,
               const struct brd_keyring *keys, const char *path, struct brd_wal_error *error);

/* The seal for the groups of a segment with this header, which was verified; as brd_seal_open.
 * NULL in *out_seal: they are not encrypted. */
BRD_MUST_CHECK enum brd_status
segment_open_seal(const struct segment_header *header, const struct brd_keyring *keys,
                  struct brd_seal **out_seal);

#endif
