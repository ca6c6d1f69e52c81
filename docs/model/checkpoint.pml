/* Checkpoints: is snapshot plus log the truth, whatever a crash leaves of the two?
 *
 *   clients       daemon/engine/commands_*.c: any change of any key, at any moment
 *   log           the threads of daemon/wal/commit.c, in as few steps as log.pml allows
 *   checkpointer  daemon/engine/checkpoint.c, snapshot.c; the release of segments by
 *                 the syncer (syncer.c, release_segments) for which it waits
 *   power         a kill or a power cut at any moment, twice
 *   start         daemon/engine/recovery.c, redo.c, then the steps of daemon/wal/wal.c
 *
 * Processes are as in log.pml: loops of steps that nobody can divide, with their place
 * in a global variable. The k-th record of the log has the version k. The test searches
 * it several times with other bounds. See README.md. */

#ifndef RECORDS
#define RECORDS 4 /* queued in all lives together */
#endif
#ifndef FAILURES
#define FAILURES 1 /* 0: none */
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef RUNS
#define RUNS 2 /* of the checkpointer, in all lives together */
#endif
#define KEYS     2
#define SEGMENTS (2 + RUNS) /* the first, one for each run, one for the second life */
#define NONE     15

#define EVENTS(E)                                                                            \
    E(CHANGED_BEFORE_WALK) E(CHANGED_BEHIND_WALK) E(SNAPSHOT_SEES_UNSYNCED) E(RECORD_DROPPED) \
    E(ROTATED) E(WAITED_FOR_LOG) E(ABANDONED) E(NAMED) E(DAMAGE_FOUND) E(NOTHING_NEW)        \
    E(WRITE_FAILED) E(SYNC_FAILED) E(META_FAILED) E(SNAPSHOT_FAILED) E(NAME_FAILED)          \
    E(SEGMENT_REMOVED) E(OLDER_REMOVED) E(RUN_ENDED)                                         \
    E(KILLED) E(POWER_CUT) E(CRASH_IN_START) E(STARTED) E(UNSYNCED_LOST) E(HEADER_LOST)      \
    E(NAME_LOST) E(REMOVED_SEGMENT_BACK) E(REMOVED_SNAPSHOT_BACK) E(META_LOST) E(META_ROTTEN) \
    E(RECOVERED_FROM_LOG) E(RECOVERED_FROM_SNAPSHOT) E(RECOVERED_FROM_SECOND)                \
    E(NEWER_KEPT) E(BASE_GONE) E(DELTA_APPLIED) E(CLEAR_SPARED) E(RELEASED_AT_START)
#include "seen.pml"

#define HAS(mask, i) (((mask) >> (i)) & 1)
#define ADD(mask, i) mask = mask | (1 << (i))
#define CUT(mask, i) mask = mask & ~(1 << (i))

/* A change: kind, key, the version that it applies to. */
#define PUT    1
#define DELETE 2
#define APPEND 3 /* or TOUCH: what applies to exactly one version */
#define CLEAR  4
#define CHANGE(kind, key, base) ((kind) | ((key) << 3) | ((base) << 4))
#define KIND(change) ((change) & 7)
#define KEY(change)  (((change) >> 3) & 1)
#define BASE(change) ((change) >> 4)

/* ---- What a crash leaves ---- */

/* The log, with those records whose segments were removed: they are the truth. */
byte record[RECORDS];
unsigned queued : 3;     /* up to here it is in the files: queueing and writing are one step */
unsigned synced : 3;     /* up to here on the disk, and published so */
/* Segments that were begun. */
byte s_begin[SEGMENTS];  /* base_version */
unsigned s_name : 4;     /* mask */
unsigned s_name_disk : 4;
unsigned s_header_disk : 4;
/* The two slots of meta: generation and first_segment. */
byte m_generation[2], m_generation_disk[2];
byte m_first[2], m_first_disk[2];
/* One snapshot for each run. */
byte n_begin[RUNS];      /* start_version */
byte n_end[RUNS];        /* end_version */
byte n_entry[RUNS * KEYS]; /* version of the entry; 0: none */
unsigned n_whole : 2;    /* mask: its content is on the disk */
unsigned n_bad : 2;      /* mask: its content is damaged */
unsigned n_name : 2;     /* mask: it has the name that counts */
unsigned n_name_disk : 2;

/* ---- What a crash takes ---- */

bool alive;
byte memory[KEYS];       /* versions; 0: no entry */
bool closed;             /* queue_close */
bool poisoned, sync_failed;
unsigned current : 2;    /* segment */
unsigned last_begin : 3; /* start_version of the last good snapshot */
byte early;              /* planted fault: a change that is in the log and not in memory */

#define IDLE 0

unsigned at : 4;         /* where the checkpointer is: */
#define C_WALK      1    /* write_entries */
#define C_END       2    /* end_version */
#define C_WAIT      3    /* brd_wal_wait_synced */
#define C_SYNC      4    /* snapshot_complete: footer, fdatasync */
#define C_VERIFY    5    /* snapshot_verify */
#define C_RENAME    6    /* snapshot_publish: rename */
#define C_NAME_SYNC 7    /* ... sync of the directory */
#define R_SYNC      8    /* brd_wal_release, so the syncer: sync_written */
#define R_META      9    /* forget_oldest: store_meta */
#define R_META_SYNC 10
#define R_META_AGAIN 11
#define R_META_AGAIN_SYNC 12
#define R_REMOVE    13   /* remove_oldest */
#define C_OLDER     14   /* snapshot_remove_older */
unsigned cursor : 2;     /* the next key of the walk */
unsigned slot : 1;       /* snapshot that is being written */
unsigned begin : 3;      /* S */
unsigned stays : 2;      /* the first segment that stays */

unsigned start_at : 4;   /* where the start is: */
#define T_RESOLVE   1    /* the crash decides what of the unsynced is left */
#define T_RECOVER   2    /* load_snapshot, brd_wal_replay, check_end */
#define T_NAMES     3    /* keep_snapshot: sync of the directory */
#define T_SYNC      4    /* brd_wal_start: sync_kept */
#define T_EPOCH     5    /* begin_epoch: store_meta */
#define T_EPOCH_SYNC 6
#define T_SEGMENT   7    /* begin_segment: a new segment, durable */
#define T_NEWEST    8    /* ... store_meta */
#define T_NEWEST_SYNC 9
#define T_RELEASED  10   /* drop_released */
#define T_OLDER     11   /* checkpoint_start: snapshot_remove_older */
#define T_OVER      12

/* ---- For the model only ---- */

unsigned crashes : 2;    /* how many are left */
unsigned runs : 2;       /* of checkpoints */
unsigned budget : 3;     /* of records */
bool failure;            /* one call of the system may still fail, or one slot of meta rot */
bool killed;             /* the last crash was no power cut */

byte change;             /* scratch of clients, 0 between two steps */
unsigned piece : 3;      /* ... of resolve() */

/* Scratch, no part of a state: only inside of a d_step, because going back does not
 * restore it. */
hidden byte i, k, best, base, end, from, refused;
hidden byte truth[KEYS], found[KEYS];

/* ---- Clients ---- */

/* What a change makes of memory. */
inline change_memory(what, version)
{
    if
    :: KIND(what) == CLEAR -> memory[0] = 0; memory[1] = 0
    :: KIND(what) == DELETE -> memory[KEY(what)] = 0
    :: else -> memory[KEY(what)] = version
    fi
}

inline any_change()
{
    if
    :: change = CHANGE(PUT, 0, 0)
    :: change = CHANGE(PUT, 1, 0)
    :: memory[0] != 0 -> change = CHANGE(DELETE, 0, 0)
    :: memory[0] != 0 -> change = CHANGE(APPEND, 0, memory[0])
    :: memory[0] != 0 && memory[1] != 0 -> change = CHANGE(CLEAR, 0, 0)
    fi
}

active proctype clients()
{
    do
    /* Under the stripe: version, record and memory are one step for the walk too. */
    :: atomic { alive && !closed && early == 0 && budget > 0 ->
        any_change();
        record[queued] = change;
        queued++;
        budget--;
#ifdef VERSION_OUTSIDE_STRIPE
        early = change;
#else
        change_memory(change, queued);
        if
        :: at == C_WALK && cursor > KEY(change) -> SEEN(CHANGED_BEHIND_WALK)
        :: at == C_WALK && cursor <= KEY(change) -> SEEN(CHANGED_BEFORE_WALK)
        :: else
        fi;
#endif
        change = 0 }
#ifdef VERSION_OUTSIDE_STRIPE
    :: d_step { alive && early != 0 -> change_memory(early, queued); early = 0 }
#endif
    /* The queue was closed behind its reservation: memory has it, the log has not. */
    :: atomic { alive && closed && memory[0] <= queued && memory[1] <= queued ->
        any_change();
        change_memory(change, queued + 1);
        change = 0;
        SEEN(RECORD_DROPPED) }
    od
}

/* ---- The log ---- */

active proctype log()
{
    do
    :: d_step { alive && !sync_failed && (at < R_SYNC || at > R_REMOVE) &&
                (synced < queued || s_header_disk != s_name) ->
        synced = queued;
        s_header_disk = s_header_disk | s_name }
    :: d_step { alive && failure && synced < queued && (at < R_SYNC || at > R_REMOVE) ->
        failure = false;
        sync_failed = true;
        closed = true;
        SEEN(SYNC_FAILED) }
    /* A write; what it was to write is as good as dropped. */
    :: d_step { alive && failure && !closed ->
        failure = false;
        closed = true;
        SEEN(WRITE_FAILED) }
    /* meta, stored for the ceiling of versions while nothing is unsynced. */
    :: d_step { alive && failure && !closed && (at < R_SYNC || at > R_REMOVE) ->
        failure = false;
        sync_failed = true;
        closed = true }
    :: d_step { alive && closed && !poisoned -> poisoned = true }
    od
}

/* ---- The checkpointer ---- */

#define BEST(generation) (generation[1] > generation[0] -> 1 : 0)

/* meta.c: meta_store goes into the slot that is not the newest. */
inline store_meta(first)
{
    best = BEST(m_generation);
    m_generation[1 - best] = m_generation[best] + 1;
    m_first[1 - best] = first
}

inline sync_meta()
{
    m_generation_disk[0] = m_generation[0]; m_generation_disk[1] = m_generation[1];
    m_first_disk[0] = m_first[0]; m_first_disk[1] = m_first[1];
    /* Only which one is the newest counts, and whether the other is valid. */
    best = BEST(m_generation);
    m_generation[best] = 2; m_generation_disk[best] = 2;
    m_generation[1 - best] = (m_generation[1 - best] == 0 -> 0 : 1);
    m_generation_disk[1 - best] = m_generation[1 - best]
}

inline meta_failed()
{
    failure = false;
    sync_failed = true;
    closed = true;
    run_over();
    SEEN(META_FAILED)
}

inline forget_snapshot(n)
{
    n_begin[n] = 0; n_end[n] = 0;
    n_entry[n * KEYS] = 0; n_entry[n * KEYS + 1] = 0;
    CUT(n_whole, n); CUT(n_bad, n); CUT(n_name, n)
}

/* As a name that was taken away may be back after a power cut, its file is only
 * forgotten when the disk has forgotten it. */
inline forget_gone_snapshots()
{
    i = 0;
    do
    :: i < RUNS ->
        if
        :: !HAS(n_name, i) && !HAS(n_name_disk, i) -> forget_snapshot(i)
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

inline run_over()
{
    at = IDLE; cursor = 0; begin = 0; stays = 0; slot = 0;
    forget_gone_snapshots()
}

inline remove_older(than)
{
    i = 0;
    do
    :: i < RUNS ->
        if
        :: HAS(n_name, i) && n_begin[i] < than -> CUT(n_name, i); SEEN(OLDER_REMOVED)
        :: else
        fi;
        i++
    :: else -> break
    od
}

/* snapshot_next_block, check_records */
#define IS_DAMAGED(n)                                                                        \
    (HAS(n_bad, n) || n_entry[(n) * KEYS] > n_end[n] || n_entry[(n) * KEYS + 1] > n_end[n])

/* The order of things, without a fault: wait, sync, verify, rename, sync of the name,
 * release. */
#ifdef RENAME_BEFORE_SYNC
#define AFTER_WAIT      C_RENAME
#define AFTER_RENAME    C_SYNC
#define AFTER_SYNC      C_NAME_SYNC
#define AFTER_NAME_SYNC C_VERIFY
#define AFTER_VERIFY    R_SYNC
#elif defined(NAME_BEFORE_VERIFY)
#define AFTER_WAIT      C_SYNC
#define AFTER_SYNC      C_RENAME
#define AFTER_RENAME    C_NAME_SYNC
#define AFTER_NAME_SYNC C_VERIFY
#define AFTER_VERIFY    R_SYNC
#else
#define AFTER_WAIT      C_SYNC
#define AFTER_SYNC      C_RENAME
#define AFTER_VERIFY    C_RENAME
#ifdef RELEASE_BEFORE_NAME
#define AFTER_RENAME    R_SYNC
#else
#define AFTER_RENAME    C_NAME_SYNC
#endif
#define AFTER_NAME_SYNC R_SYNC
#endif

inline verify()
{
    if
    :: IS_DAMAGED(slot) -> SEEN(DAMAGE_FOUND);
        CUT(n_name, slot);
        run_over()
    :: else -> at = AFTER_VERIFY
    fi
}

active proctype checkpointer()
{
    do
    /* brd_wal_rotate; S is what the log has before the new segment. */
    :: d_step { alive && at == IDLE && runs > 0 && !poisoned && !closed &&
                (queued == s_begin[current] || current + 1 < SEGMENTS) ->
        slot = RUNS - runs;
        runs--;
        begin = queued;
        if
        :: queued > s_begin[current] ->
            current++;
            s_begin[current] = queued;
            ADD(s_name, current);
            ADD(s_name_disk, current);
            SEEN(ROTATED)
        :: else
        fi;
        if
        :: begin == 0 || begin == last_begin -> at = R_SYNC; SEEN(NOTHING_NEW)
        :: else -> at = C_WALK
        fi }
    :: d_step { alive && at == C_WALK && cursor < KEYS && !poisoned ->
        n_entry[slot * KEYS + cursor] = memory[cursor];
        if
        :: memory[cursor] > synced -> SEEN(SNAPSHOT_SEES_UNSYNCED)
        :: else
        fi;
        cursor++;
        at = (cursor == KEYS -> C_END : C_WALK) }
    :: d_step { alive && at == C_END && !poisoned ->
        n_begin[slot] = begin;
#ifdef START_NOTED_LATE
        n_begin[slot] = queued;
        begin = queued;
#endif
        n_end[slot] = queued;
        cursor = 0;
#ifdef SNAPSHOT_BEFORE_LOG
        at = AFTER_WAIT;
#else
        at = C_WAIT;
#endif
        if
        :: synced < queued -> SEEN(WAITED_FOR_LOG)
        :: else
        fi }
#ifdef DROPPED_IN_SNAPSHOT
    :: d_step { alive && at == C_WAIT && synced >= n_end[slot] -> at = AFTER_WAIT }
    :: d_step { alive && at == C_WAIT && synced < n_end[slot] && poisoned ->
        run_over(); SEEN(ABANDONED) }
#else
    :: d_step { alive && at == C_WAIT && synced >= n_end[slot] && !closed -> at = AFTER_WAIT }
    :: d_step { alive && at == C_WAIT && closed -> run_over(); SEEN(ABANDONED) }
#endif
    :: d_step { alive && (at == C_WALK || at == C_END) && poisoned -> run_over(); SEEN(ABANDONED) }
    :: atomic { alive && at == C_SYNC ->
        ADD(n_whole, slot);
        if
        :: true
        :: ADD(n_bad, slot) /* the disk has written something else */
        fi;
        at = AFTER_SYNC;
#if !defined(RENAME_BEFORE_SYNC) && !defined(NAME_BEFORE_VERIFY)
        /* In one step: nobody looks at a file without a name. */
        d_step { verify() }
#endif
        }
    :: d_step { alive && at == C_VERIFY -> verify() }
    /* snapshot_abandon */
    :: d_step { alive && at == C_SYNC && !HAS(n_name, slot) -> run_over(); SEEN(SNAPSHOT_FAILED) }
    :: d_step { alive && at == C_RENAME ->
        i = 0;
        do
        :: i < RUNS ->
            if
            :: i != slot && n_begin[i] == n_begin[slot] -> CUT(n_name, i) /* in its place */
            :: else
            fi;
            i++
        :: else -> break
        od;
        ADD(n_name, slot);
        at = AFTER_RENAME;
#ifdef OLDER_REMOVED_FIRST
        remove_older(begin);
#endif
        SEEN(NAMED) }
    :: atomic { alive && at == C_NAME_SYNC ->
        if
        :: n_name_disk = n_name; at = AFTER_NAME_SYNC
        :: d_step { run_over() }; SEEN(NAME_FAILED)
        fi }
    /* The syncer, release_segments: what is written first, so that the segment that will
     * be the oldest is durable itself. */
    :: d_step { alive && at == R_SYNC && !sync_failed && !poisoned ->
        last_begin = begin;
#ifndef RELEASE_UNSYNCED
        synced = queued;
        s_header_disk = s_header_disk | s_name;
#endif
        /* retention_covered */
        best = BEST(m_generation);
        stays = m_first[best];
        i = stays;
        do
        :: i <= current ->
            if
            :: s_begin[i] <= begin -> stays = i
            :: else
            fi;
            i++
        :: else -> break
        od;
        if
        :: stays == m_first[best] -> at = C_OLDER
#ifdef REMOVE_BEFORE_META
        :: else -> at = R_REMOVE
#else
        :: else -> at = R_META
#endif
        fi }
    :: d_step { alive && at == R_SYNC && poisoned ->
        last_begin = begin;
        run_over();
        SEEN(ABANDONED) }
    :: d_step { alive && at == R_META -> store_meta(stays); at = R_META_SYNC }
    :: atomic { alive && at == R_META_SYNC ->
        if
#ifdef REMOVE_BEFORE_META
        :: d_step { sync_meta(); at = C_OLDER }
#elif defined(META_ONE_SLOT)
        :: d_step { sync_meta(); at = R_REMOVE }
#else
        :: d_step { sync_meta(); at = R_META_AGAIN }
#endif
        :: failure -> d_step { meta_failed() }
        fi }
    :: d_step { alive && at == R_META_AGAIN -> store_meta(stays); at = R_META_AGAIN_SYNC }
    :: atomic { alive && at == R_META_AGAIN_SYNC ->
        if
        :: d_step { sync_meta(); at = R_REMOVE }
        :: failure -> d_step { meta_failed() }
        fi }
    :: d_step { alive && at == R_REMOVE ->
        i = 0;
        do
        :: i < stays && !HAS(s_name, i) -> i++
        :: else -> break
        od;
        if
        :: i < stays -> CUT(s_name, i); CUT(s_header_disk, i); SEEN(SEGMENT_REMOVED)
#ifdef REMOVE_BEFORE_META
        :: else -> at = R_META
#else
        :: else -> at = C_OLDER
#endif
        fi }
    :: d_step { alive && at == C_OLDER ->
        if
        :: poisoned /* brd_wal_release gave up */
        :: else -> remove_older(begin); SEEN(RUN_ENDED)
        fi;
        run_over() }
    od
}

/* ---- The crash ---- */

active proctype power()
{
    do
    :: atomic { (alive || (start_at > T_RECOVER && start_at < T_OVER)) && crashes > 0 ->
        crashes--;
        if
        :: alive
        :: else -> SEEN(CRASH_IN_START)
        fi;
        if
        :: killed = true; SEEN(KILLED)
        :: killed = false; SEEN(POWER_CUT)
        fi;
        d_step {
            alive = false;
            memory[0] = 0; memory[1] = 0;
            current = 0; last_begin = 0; early = 0;
            closed = false; poisoned = false; sync_failed = false;
            run_over();
            start_at = T_RESOLVE
        } }
    od
}

/* ---- The start ---- */

/* Of what was not synced each piece is there or not, in any combination. */
inline resolve()
{
    piece = 0;
    do
    :: piece < SEGMENTS ->
        if
        :: HAS(s_name, piece) && !HAS(s_header_disk, piece) ->
            if
            :: true -> ADD(s_header_disk, piece)
            :: synced <= s_begin[piece] -> SEEN(HEADER_LOST);
                /* The log ends before it. */
                queued = (queued < s_begin[piece] -> queued : s_begin[piece]);
                do
                :: piece < SEGMENTS ->
                    if
                    :: HAS(s_name, piece) ->
                        CUT(s_name, piece); CUT(s_name_disk, piece); CUT(s_header_disk, piece)
                    :: else
                    fi;
                    piece++
                :: else -> break
                od
            fi
        :: !HAS(s_name, piece) && HAS(s_name_disk, piece) ->
            if
            :: ADD(s_name, piece); ADD(s_header_disk, piece); SEEN(REMOVED_SEGMENT_BACK)
            :: true
            fi
        :: else
        fi;
        piece++
    :: else -> break
    od;
    s_name_disk = s_name;
    do
    :: queued > synced -> queued--; SEEN(UNSYNCED_LOST)
    :: break
    od;
    synced = queued;
    piece = 0;
    do
    :: piece < RUNS ->
        if
        :: HAS(n_name, piece) && !HAS(n_name_disk, piece) ->
            if
            :: true
            :: CUT(n_name, piece); SEEN(NAME_LOST)
            fi
        :: !HAS(n_name, piece) && HAS(n_name_disk, piece) ->
            if
            :: ADD(n_name, piece); SEEN(REMOVED_SNAPSHOT_BACK)
            :: true
            fi
        :: else
        fi;
        if
        :: HAS(n_name, piece) && !HAS(n_whole, piece) ->
            if
            :: ADD(n_whole, piece)
            :: ADD(n_bad, piece); ADD(n_whole, piece)
            fi
        :: else
        fi;
        piece++
    :: else -> break
    od;
    n_name_disk = n_name;
    piece = 0;
    do
    :: piece < 2 ->
        if
        :: m_generation[piece] != m_generation_disk[piece] ->
            if
            :: true
            :: m_generation[piece] = m_generation_disk[piece]; m_first[piece] = m_first_disk[piece];
                SEEN(META_LOST)
            fi
        :: else
        fi;
        piece++
    :: else -> break
    od;
    if
    :: true
    :: failure -> failure = false; m_generation[0] = 0; SEEN(META_ROTTEN)
    :: failure -> failure = false; m_generation[1] = 0; SEEN(META_ROTTEN)
    fi;
    piece = 0;
    d_step { sync_meta() }
}

/* redo.c on found[]: the change of a version v. */
inline redo(change, v)
{
    k = KEY(change);
    if
    :: KIND(change) == PUT && found[k] <= v -> found[k] = v
    :: KIND(change) == PUT && found[k] > v -> SEEN(NEWER_KEPT)
    :: KIND(change) == DELETE && found[k] < v -> found[k] = 0
    :: KIND(change) == DELETE && found[k] >= v -> SEEN(NEWER_KEPT)
    :: KIND(change) == CLEAR ->
        k = 0;
        do
        :: k < KEYS ->
            if
            :: found[k] < v -> found[k] = 0
            :: else -> SEEN(CLEAR_SPARED)
            fi;
            k++
        :: else -> break
        od
#ifdef DELTA_UNGUARDED
    :: KIND(change) == APPEND ->
        assert(found[k] == BASE(change)); /* anything else makes another value */
        found[k] = v
#else
    :: KIND(change) == APPEND && found[k] > BASE(change) -> SEEN(NEWER_KEPT)
#ifdef MISSING_BASE_IS_DAMAGE
    :: KIND(change) == APPEND && found[k] < BASE(change) -> refused = true
#else
    :: KIND(change) == APPEND && found[k] == 0 && v <= end -> SEEN(BASE_GONE)
    :: KIND(change) == APPEND && found[k] < BASE(change) && !(found[k] == 0 && v <= end) ->
        refused = true
#endif
    :: KIND(change) == APPEND && found[k] == BASE(change) -> found[k] = v; SEEN(DELTA_APPLIED)
#endif
    fi
}

/* recovery.c, load_snapshot: the newest one; and what of it does not fit the log. */
inline load_snapshot()
{
    found[0] = 0; found[1] = 0;
    from = 0;
    end = 0;
    best = NONE;
    i = 0;
    do
    :: i < RUNS ->
        if
        :: HAS(n_name, i) && (best == NONE || n_begin[i] >= n_begin[best]) -> best = i
        :: else
        fi;
        i++
    :: else -> break
    od;
    if
    :: best == NONE -> refused = refused || base > 0 /* snapshot_check_none */
    :: else ->
        /* snapshot_check_fit, before and after the replay */
        refused = refused || IS_DAMAGED(best) || n_begin[best] < base ||
                  n_end[best] > (queued > base -> queued : base);
        from = n_begin[best];
        end = n_end[best];
        found[0] = n_entry[best * KEYS];
        found[1] = n_entry[best * KEYS + 1]
    fi;
    if
    :: best == NONE -> SEEN(RECOVERED_FROM_LOG)
    :: best == 0 -> SEEN(RECOVERED_FROM_SNAPSHOT)
    :: else -> SEEN(RECOVERED_FROM_SECOND)
    fi
}

inline recover()
{
    /* reader.c, load_segments: from meta's first one on, without a gap. */
    refused = false;
    best = BEST(m_generation);
    current = m_first[best];
    refused = !HAS(s_name, current);
    base = s_begin[current];
    do
    :: current + 1 < SEGMENTS && HAS(s_name, current + 1) -> current++
    :: else -> break
    od;
    i = current + 1;
    do
    :: i < SEGMENTS -> refused = refused || HAS(s_name, i); i++
    :: else -> break
    od;
    load_snapshot();
    last_begin = from;
    i = 0;
    truth[0] = 0; truth[1] = 0;
    do
    :: i < queued ->
        k = KEY(record[i]);
        if
        :: KIND(record[i]) == CLEAR -> truth[0] = 0; truth[1] = 0
        :: KIND(record[i]) == DELETE -> truth[k] = 0
        :: else -> truth[k] = i + 1
        fi;
        if
#ifdef REPLAYED_ABOVE_END
        :: i >= base && i + 1 > end && !refused -> redo(record[i], i + 1)
#else
        :: i >= base && i + 1 > from && !refused -> redo(record[i], i + 1)
#endif
        :: else
        fi;
        i++
    :: else -> break
    od
}

inline check()
{
    /* A crash alone leaves nothing that is called damage. */
    assert(!refused);
    /* Snapshot and log are the log alone: nothing of a later moment, no hole. */
    assert(found[0] == truth[0] && found[1] == truth[1])
}

active proctype start()
{
    d_step {
        c_code { atexit(tell_seen); };
        crashes = CRASHES;
        runs = RUNS;
        budget = RECORDS;
        failure = FAILURES;
        /* A new directory: its first segment is there, and both slots know of it. */
        s_name = 1; s_name_disk = 1; s_header_disk = 1;
        m_generation[0] = 1; m_generation[1] = 2;
        m_generation_disk[0] = 1; m_generation_disk[1] = 2;
        alive = true
    }
    do
    :: atomic { start_at == T_RESOLVE ->
        if
        :: killed
        :: else -> resolve()
        fi;
        d_step {
            forget_gone_snapshots();
            i = 0;
            do
            :: i < SEGMENTS ->
                if
                :: !HAS(s_name, i) && !HAS(s_name_disk, i) -> s_begin[i] = 0
                :: else
                fi;
                i++
            :: else -> break
            od;
            i = queued;
            do
            :: i < RECORDS -> record[i] = 0; i++
            :: else -> break
            od
        };
        start_at = T_RECOVER }
    :: d_step { start_at == T_RECOVER ->
        recover();
        check();
        memory[0] = found[0]; memory[1] = found[1];
        start_at = (crashes > 0 -> T_NAMES : T_OVER)
        }
    :: d_step { start_at == T_NAMES ->
#ifndef START_TRUSTS_NAMES
        n_name_disk = n_name;
#endif
#ifdef RELEASED_BEFORE_META
        start_at = T_RELEASED
#else
        start_at = T_SYNC
#endif
        }
    :: d_step { start_at == T_SYNC ->
        synced = queued;
        s_header_disk = s_header_disk | s_name;
        start_at = T_EPOCH }
    :: d_step { start_at == T_EPOCH ->
        best = BEST(m_generation);
        k = m_first[best];
        store_meta(k);
        start_at = T_EPOCH_SYNC }
    :: d_step { start_at == T_EPOCH_SYNC -> sync_meta(); start_at = T_SEGMENT }
    :: d_step { start_at == T_SEGMENT ->
        current++;
        s_begin[current] = queued;
        ADD(s_name, current);
        ADD(s_header_disk, current);
        s_name_disk = s_name;
        start_at = T_NEWEST }
    :: d_step { start_at == T_NEWEST ->
        best = BEST(m_generation);
        k = m_first[best];
        store_meta(k);
        start_at = T_NEWEST_SYNC }
    :: d_step { start_at == T_NEWEST_SYNC ->
        sync_meta();
#ifdef RELEASED_BEFORE_META
        start_at = T_OLDER
#else
        start_at = T_RELEASED
#endif
        }
    :: d_step { start_at == T_RELEASED ->
        best = BEST(m_generation);
        i = 0;
        do
        :: i < m_first[best] ->
            if
            :: HAS(s_name, i) -> CUT(s_name, i); CUT(s_header_disk, i); SEEN(RELEASED_AT_START)
            :: else
            fi;
            i++
        :: else -> break
        od;
#ifdef RELEASED_BEFORE_META
        start_at = T_SYNC
#else
        start_at = T_OLDER
#endif
        }
    :: d_step { start_at == T_OLDER ->
        remove_older(last_begin);
        forget_gone_snapshots();
        start_at = 0;
        alive = true;
        SEEN(STARTED) }
    od
}
