/* The key file.
 *
 * Whoever can read it can read the data, so a file that others can read is refused rather
 * than used: the mistake shows at once, and not when the data has leaked. It is opened
 * without waiting (a FIFO would), judged by the descriptor that is read afterwards, and
 * read whole into memory that is wiped.
 *
 * A key's id is derived from it, so that a file needs no names and the same key has the
 * same id everywhere. */
#include "seal/keyring.h"

#include "base/file.h"
#include "seal/hkdf.h"

#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX ((size_t)64 << 10) /* some thousand keys; more is no key file */
#define KEY_DIGITS     ((size_t)2 * MASTER_BYTES)
#define MODE_OWNER     (mode_t)0600 /* may be set, in a file of the owner's alone */
#define MODE_SERVICE   (mode_t)0440 /* systemd's credentials: an ACL shows as the group's bits */

static const uint8_t no_key[BRD_SEAL_ID_BYTES];

/* What is being read. */
struct source {
    const char *path;
    char *error;
    size_t error_size;
    size_t line;
};

static enum brd_status refuse(const struct source *source, enum brd_status status,
                              const char *format, ...) __attribute__((format(printf, 3, 4)));

static enum brd_status
refuse(const struct source *source, enum brd_status status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(source->error, source->error_size, format, args);
    va_end(args);
    return status;
}

static enum brd_status
no_memory(const struct source *source)
{
    return refuse(source, BRD_OUT_OF_MEMORY, "out of memory for the key file %s", source->path);
}

/* ---- Lines ---- */

static int
digit_of(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct brd_bytes
trim(struct brd_bytes line)
{
    while (line.size > 0 && is_blank(line.data[0]))
        line = brd_bytes(line.data + 1, line.size - 1);
    while (line.size > 0 && is_blank(line.data[line.size - 1]))
        line.size--;
    return line;
}

static bool
decode(struct brd_bytes digits, uint8_t *out_key)
{
    size_t i;

    if (digits.size != KEY_DIGITS)
        return false;
    for (i = 0; i < MASTER_BYTES; i++) {
        int high = digit_of(digits.data[2 * i]);
        int low = digit_of(digits.data[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        out_key[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool
all_zero(const uint8_t *data, size_t size)
{
    uint8_t any = 0;

    while (size-- > 0)
        any |= data[size];
    return any == 0;
}

static enum brd_status
take_key(const struct source *source, struct brd_bytes digits, struct brd_keyring *ring)
{
    struct master *master = &ring->masters[ring->count];

    if (!decode(digits, master->key))
        return refuse(source, BRD_INVALID_ARGUMENT,
                      "line %zu of the key file %s is not a key: 64 hexadecimal digits are wanted",
                      source->line, source->path);
    if (all_zero(master->key, MASTER_BYTES))
        return refuse(source, BRD_INVALID_ARGUMENT,
                      "line %zu of the key file %s is not a key: it is all zeros", source->line,
                      source->path);
    if (!hkdf_sha256(brd_bytes(master->key, MASTER_BYTES), brd_bytes(NULL, 0),
                     brd_bytes_of("brindle key id"), master->id, sizeof(master->id)))
        return no_memory(source);
    if (keyring_find(ring, master->id) != NULL)
        return refuse(source, BRD_INVALID_ARGUMENT,
                      "line %zu of the key file %s repeats a key of an earlier line", source->line,
                      source->path);
    ring->count++;
    return BRD_OK;
}

/* `plain` or `only`. */
static enum brd_status
take_word(const struct source *source, const char *word, bool *out_said, struct brd_keyring *ring)
{
    if (ring->plain || ring->only || ring->count > 0)
        return refuse(source, BRD_INVALID_ARGUMENT,
                      "line %zu of the key file %s: %s must stand before the first key, and once, "
                      "and plain and only not together",
                      source->line, source->path, word);
    *out_said = true;
    return BRD_OK;
}

static enum brd_status
take_line(const struct source *source, struct brd_bytes line, struct brd_keyring *ring)
{
    if (brd_bytes_equal(line, brd_bytes_of("plain")))
        return take_word(source, "plain", &ring->plain, ring);
    if (brd_bytes_equal(line, brd_bytes_of("only")))
        return take_word(source, "only", &ring->only, ring);
    return take_key(source, line, ring);
}

static enum brd_status
take_lines(struct source *source, struct brd_bytes text, struct brd_keyring *ring)
{
    enum brd_status status = BRD_OK;

    while (status == BRD_OK && text.size > 0) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t size = end != NULL ? (size_t)(end - text.data) : text.size;
        struct brd_bytes line = trim(brd_bytes(text.data, size));

        size += end != NULL;
        text = brd_bytes(text.data + size, text.size - size);
        source->line++;
        if (line.size > 0 && line.data[0] != '#')
            status = take_line(source, line, ring);
    }
    if (status == BRD_OK && ring->count == 0)
        return refuse(source, BRD_INVALID_ARGUMENT, "the key file %s holds no key", source->path);
    return status;
}

/* ---- The file ---- */

/* Is it a file that nobody else can read? */
static enum brd_status
judge(const struct source *source, int fd)
{
    struct stat st;
    mode_t mode;

    if (fstat(fd, &st) != 0)
        return refuse(source, BRD_IO_ERROR, "cannot look at the key file %s", source->path);
    if (!S_ISREG(st.st_mode))
        return refuse(source, BRD_INVALID_ARGUMENT, "the key file %s is not a regular file",
                      source->path);
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return refuse(source, BRD_INVALID_ARGUMENT,
                      "the key file %s belongs to another user (uid %lu): it must be yours, or "
                      "root's",
                      source->path, (unsigned long)st.st_uid);
    mode = st.st_mode & (mode_t)07777;
    if ((mode & ~MODE_OWNER) != 0 && !(mode == MODE_SERVICE && st.st_uid == 0))
        return refuse(source, BRD_INVALID_ARGUMENT,
                      "the key file %s is open to others (mode %04o): chmod 0600 it", source->path,
                      (unsigned)mode);
    return BRD_OK;
}

static enum brd_status
read_whole(const struct source *source, uint8_t *buffer, size_t room, size_t *out_size)
{
    const struct brd_io *io = brd_io_real();
    int fd = io->open(io->ctx, source->path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    enum brd_status status;
    int result;

    if (fd < 0)
        return refuse(source, BRD_IO_ERROR, "cannot open the key file %s: %s", source->path,
                      brd_file_error(fd));
    status = judge(source, fd);
    if (status == BRD_OK) {
        result = brd_file_read(io, fd, buffer, room, 0, out_size);
        if (result != 0)
            status = refuse(source, BRD_IO_ERROR, "cannot read the key file %s: %s", source->path,
                            brd_file_error(result));
        else if (*out_size == room)
            status = refuse(source, BRD_INVALID_ARGUMENT,
                            "%s has more than %zu bytes: that is no key file", source->path,
                            FILE_BYTES_MAX);
    }
    brd_file_close(io, &fd);
    return status;
}

/* Room for as many keys as a text of so many bytes can hold. */
static struct brd_keyring *
make_ring(size_t text_bytes)
{
    size_t room = text_bytes / KEY_DIGITS + 1;
    struct brd_keyring *ring = calloc(1, sizeof(*ring) + room * sizeof(ring->masters[0]));

    if (ring != NULL)
        ring->room = room;
    return ring;
}

enum brd_status
brd_keyring_load(const char *path, struct brd_keyring **out_ring, char *out_error,
                 size_t error_size)
{
    const size_t room = FILE_BYTES_MAX + 1;
    struct source source = { .path = path, .error = out_error, .error_size = error_size };
    struct brd_keyring *ring = NULL;
    uint8_t *buffer = malloc(room);
    enum brd_status status;
    size_t size = 0;

    if (buffer == NULL)
        return no_memory(&source);
    status = read_whole(&source, buffer, room, &size);
    if (status == BRD_OK) {
        ring = make_ring(size);
        status =
            ring == NULL ? no_memory(&source) : take_lines(&source, brd_bytes(buffer, size), ring);
    }
    OPENSSL_cleanse(buffer, room);
    free(buffer);
    if (status != BRD_OK)
        brd_keyring_close(&ring);
    else
        *out_ring = ring;
    return status;
}

void
brd_keyring_close(struct brd_keyring **ring)
{
    if (*ring == NULL)
        return;
    OPENSSL_cleanse((*ring)->masters, (*ring)->room * sizeof((*ring)->masters[0]));
    free(*ring);
    *ring = NULL;
}

/* ---- Keys by their ids ---- */

const struct master *
keyring_find(const struct brd_keyring *ring, const uint8_t *key_id)
{
    size_t i;

    for (i = 0; ring != NULL && i < ring->count; i++)
        if (memcmp(ring->masters[i].id, key_id, BRD_SEAL_ID_BYTES) == 0)
            return &ring->masters[i];
    return NULL;
}

const uint8_t *
brd_keyring_current(const struct brd_keyring *ring)
{
    return ring != NULL && !ring->plain ? ring->masters[0].id : no_key;
}

bool
brd_keyring_has(const struct brd_keyring *ring, const uint8_t *key_id)
{
    return memcmp(key_id, no_key, sizeof(no_key)) == 0 || keyring_find(ring, key_id) != NULL;
}

bool
brd_keyring_only(const struct brd_keyring *ring)
{
    return ring != NULL && ring->only;
}

bool
brd_keyring_same(const struct brd_keyring *ring, const struct brd_keyring *other)
{
    size_t i;

    if (ring == NULL || other == NULL)
        return ring == other;
    if (ring->count != other->count || ring->only != other->only)
        return false;
    for (i = 0; i < ring->count; i++)
        if (keyring_find(other, ring->masters[i].id) == NULL)
            return false;
    return memcmp(brd_keyring_current(ring), brd_keyring_current(other), BRD_SEAL_ID_BYTES) == 0;
}

void
brd_keyring_name(const uint8_t *key_id, char out_name[BRD_SEAL_NAME_BYTES])
{
    snprintf(out_name, BRD_SEAL_NAME_BYTES, "%02x%02x%02x%02x", key_id[0], key_id[1], key_id[2],
             key_id[3]);
}
