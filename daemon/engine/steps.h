/* The steps that commands are made of. Threads: the caller's, for all of them. */
#ifndef BRD_ENGINE_STEPS_H
#define BRD_ENGINE_STEPS_H

#include "base/check.h"
#include "engine/core.h"

/* ---- refusals: fill the reply, count it, return BRD_OK ---- */

enum brd_status
step_refuse(struct brd_caller *caller, struct brd_reply *reply, enum brd_status status,
            const char *format, ...) __attribute__((format(printf, 4, 5)));
enum brd_status step_refuse_no_memory(struct brd_caller *caller, struct brd_reply *reply);

/* The disk has no room for what a write adds: only its reserve is left (or less than this
 * write needs beside it). */
enum brd_status step_refuse_disk_full(struct brd_caller *caller, struct brd_reply *reply);

/* The memory limit has no room for bytes more. */
enum brd_status
step_refuse_full(struct brd_caller *caller, struct brd_reply *reply, uint64_t bytes);

/* ---- what is asked ---- */

/* The namespace of this name, or NULL where there is none. */
struct name_space *step_find_name_space(struct brd_caller *caller, struct brd_bytes name);

/* The request's namespace, or NULL where there is none of that name. */
static inline struct name_space *
step_name_space(struct brd_caller *caller, const struct brd_request *request)
{
    if (BRD_LIKELY(request->name_space.size == 0))
        return &caller->engine->default_ns;
    return step_find_name_space(caller, request->name_space);
}

/* Do writes of this namespace go to the log? */
bool step_is_logged(const struct brd_caller *caller, const struct name_space *ns);

/* The absolute deadline that a request asks for, in Unix ms; 0: none. */
uint64_t step_deadline_ms(const struct brd_caller *caller, const struct brd_request *request);

/* Does the memory limit allow bytes more as things are? */
bool step_has_room(const struct brd_caller *caller, uint64_t bytes);

/* Make it so; room.c. As step_make_room. whole: bytes of all that will be there, of which
 * bytes are new: nothing is evicted for what is too large as a whole. */
enum brd_status
step_make_room_slowly(struct brd_caller *caller, struct name_space *ns, uint64_t bytes,
                      uint64_t whole, struct brd_reply *reply, bool *out_refused);

/* What an entry takes beside its key and value, about: header, rounding up and
 * its part of the table. */
#define STEP_ENTRY_BYTES 48

/* What a deadline adds to an entry that had none, at most, about: its links, rounding up. */
#define STEP_LINKS_BYTES 32

/* Have room for a write of so many bytes: evict, where the policy allows. BRD_OK,
 * or BRD_BUSY: park the request. *out_refused: the reply says why not. No guard
 * is open. */
static inline enum brd_status
step_make_room(struct brd_caller *caller, struct name_space *ns, uint64_t bytes,
               struct brd_reply *reply, bool *out_refused)
{
    *out_refused = false;
    caller->written += bytes;
    if (BRD_LIKELY(caller->written < MEMORY_PIECE_BYTES && step_has_room(caller, bytes)))
        return BRD_OK;
    return step_make_room_slowly(caller, ns, bytes, bytes, reply, out_refused);
}

/* The same for a write that adds bytes to what the key has already, or, where adds_links, gives
 * it a deadline that it has not: looks only where room is short. */
enum brd_status step_make_room_to_grow(struct brd_caller *caller, struct name_space *ns,
                                       const struct brd_request *request, uint64_t bytes,
                                       bool adds_links, struct brd_reply *reply, bool *out_refused);

/* ---- what a reply depends on ---- */

/* It tells something that is as new as version seen. */
void step_depend_on_read(const struct brd_caller *caller, const struct name_space *ns,
                         struct brd_reply *reply, uint64_t seen);

/* It tells something about the whole keyspace: all that was written. */
void step_depend_on_all(const struct brd_caller *caller, const struct name_space *ns,
                        struct brd_reply *reply);

/* It acknowledges the write of this version. */
void step_depend_on_write(const struct name_space *ns, const struct brd_request *request,
                          struct brd_reply *reply, uint64_t version);

/* ---- stripes; caller->guard holds at most one guard ---- */

/* The hashes of n keys, in caller->hashes; NULL where memory is out. */
const uint64_t *step_hash_keys(struct brd_caller *caller, const struct brd_bytes *keys, size_t n);
const uint64_t *
step_hash_items(struct brd_caller *caller, const struct brd_key_value *items, size_t n);

/* Bring what several hashes will touch into the cache. */
void step_prefetch(const struct name_space *ns, const uint64_t *hashes, size_t n);

/* One stripe. For writing, the caller's time catches up with everybody's. */
void step_begin_one(struct brd_caller *caller, struct name_space *ns, enum brd_guard_mode mode,
                    uint64_t hash);

/* All stripes of n hashes, or of the keyspace (hashes NULL); as above. False, and
 * nothing is held, where memory is out. */
bool step_begin_many(struct brd_caller *caller, struct name_space *ns, enum brd_guard_mode mode,
                     const uint64_t *hashes, size_t n);
void step_end_guard(struct brd_caller *caller);

/* ---- reads and writes ---- */

/* Put a value that was found into the reply; the guard stays held until the
 * reply is done. */
void
step_show_value(struct brd_caller *caller, struct brd_reply *reply, const struct brd_view *view);

/* Claim log space. BRD_OK, or BRD_BUSY: park the request. *out_refused: the reply
 * says why not. */
enum brd_status step_reserve_log(struct brd_caller *caller, const struct name_space *ns,
                                 uint64_t bytes, struct brd_reply *reply, bool *out_refused);
/* The same for a record that only removes something: it may use the disk reserve. */
enum brd_status
step_reserve_log_removal(struct brd_caller *caller, const struct name_space *ns, uint64_t bytes,
                         struct brd_reply *reply, bool *out_refused);
void step_unreserve_log(struct brd_caller *caller, const struct name_space *ns, uint64_t bytes);

/* An entry for key and value; a large value becomes a blob, or is one (received, borrowed;
 * else NULL), of which *out_blob is another reference, for the log (else NULL). NULL where
 * memory is out. */
struct brd_entry *
step_make_entry(struct brd_bytes key, struct brd_bytes value, struct brd_blob *received,
                bool has_deadline, struct brd_blob **out_blob);

/* Take the version of the write; queue the record, where the namespace is logged:
 * caller->payload, then blob (or NULL). Uses up what was reserved. Under the
 * write guard, when nothing can fail any more. */
uint64_t step_commit(struct brd_caller *caller, const struct name_space *ns,
                     const struct brd_request *request, uint64_t reserved, struct brd_blob *blob);

/* A write whose deadline is past: log and do the removal. Under the write guard.
 * False where memory is out: the reply says so, and nothing has happened. */
bool step_remove_as_expired(struct brd_caller *caller, struct name_space *ns,
                            const struct brd_request *request, uint64_t reserved,
                            struct brd_reply *reply);

#endif
