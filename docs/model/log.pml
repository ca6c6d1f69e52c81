/* The log: who may be told what, and what is still there after a crash.
 *
 *   client, reader   daemon/engine/commands_write.c, daemon/session/session.c
 *   writer, syncer   the two threads of daemon/wal/commit.c and syncer.c
 *   power            a kill or a power cut at any moment, twice
 *   start            daemon/wal/reader.c, then the steps of daemon/wal/wal.c
 *
 * A process is one loop of steps that nobody can divide. Where it stands in its
 * function is a global variable (writer_at, syncer_at, ...), so a crash makes all of
 * them forget by setting those to 0, and what follows knows nothing but the disk.
 *
 * A position counts records: the k-th record of the log lies at position k - 1, "up
 * to p" is those below p. The version of the k-th record is k. See README.md. */

#ifndef RECORDS
#define RECORDS 3 /* queued in all lives together */
#endif
#ifndef FAILURES
#define FAILURES 1 /* of writes and syncs */
#endif
#define CRASHES  2
#define CLIENTS  2
#define SEGMENTS 4 /* at most two rotations before the first crash, one segment after it */
#define NONE     15

#define EVENTS(E)                                                                            \
    E(ACK_FULL) E(ACK_NORMAL) E(READ_SHOWN) E(UNKNOWN_RESULT) E(RECORD_DROPPED)              \
    E(GROUP_OF_TWO) E(ROTATED) E(WRITE_FAILED) E(BEGIN_FAILED) E(SYNC_FAILED)                \
    E(META_FAILED) E(SEALED_SYNCED) E(SYNC_BEHIND_WRITE) E(KILLED) E(POWER_CUT)              \
    E(UNSYNCED_LOST) E(UNSYNCED_KEPT) E(PAGES_EVICTED) E(HEADER_LOST) E(UNLINK_LOST)         \
    E(TAIL_DROPPED) E(HOLE_CUT_OFF) E(SUCCESSOR_CUT_OFF) E(SEGMENT_DROPPED) E(REWRITTEN)     \
    E(CRASH_IN_START) E(STARTED) E(SECOND_LIFE_WROTE) E(RECOVERED_EMPTY) E(RECOVERED_ALL)
#include "seen.pml"

#define HAS(mask, i) (((mask) >> (i)) & 1)
#define ADD(mask, i) mask = mask | (1 << (i))
#define CUT(mask, i) mask = mask & ~(1 << (i))
#define RAISE(a, b)                                                                          \
    if                                                                                       \
    :: (b) > a -> a = b                                                                      \
    :: else                                                                                  \
    fi

/* ---- What a crash leaves ---- */

/* Groups, in the order in which they were written. */
unsigned groups : 3;      /* how many there ever were */
byte g_begin[RECORDS];    /* position of its first record */
byte g_end[RECORDS];
byte g_synced[RECORDS];   /* the header's synced_lsn */
unsigned g_second : 4;    /* mask: of the second life; for the assertions only */
unsigned g_file : 4;      /* mask: whole in its file, as a reader sees it */
unsigned g_disk : 4;      /* mask: so will it be after a power cut */
unsigned g_clean : 4;     /* mask: a failed sync has made its pages clean: the next sync
                             writes nothing and reports success */
/* Segments. */
byte s_groups[SEGMENTS];  /* mask */
byte s_begin[SEGMENTS];   /* start_lsn */
byte s_synced[SEGMENTS];  /* synced_lsn */
unsigned s_name : 4;      /* mask: there is a file of this name */
unsigned s_name_disk : 4;
unsigned s_header : 4;    /* mask: it was begun */
unsigned s_header_disk : 4;
unsigned s_header_clean : 4;
/* meta: newest_segment and synced_lsn. One sector, so it is the old or the new one. */
unsigned m_newest : 2;
unsigned m_newest_disk : 2;
unsigned m_synced : 3;
unsigned m_synced_disk : 3;

/* ---- What a crash takes ---- */

bool alive;
unsigned queued : 3;      /* up to here: queue.last_version */
unsigned written : 3;     /* published: written_lsn */
unsigned synced : 3;      /* published: synced_lsn */
byte version_of[RECORDS]; /* of the record at a position */
bool closed;              /* queue_close */
bool poisoned, sync_failed;
unsigned memory : 3;      /* version of the one key that all write */
unsigned current : 2;     /* segment */
unsigned sealed : 2;      /* the first segment that no sync has taken yet */

#define IDLE 0

unsigned writer_at : 3;   /* where the writer is: */
#define W_GROUP     1     /* write_group */
#define W_HEADER    2     /* rotate: segment_begin */
#define W_SEAL      3     /* rotate: under the lock */
#define W_WRITE     4     /* brd_file_writev */
#define W_PUBLISH   5     /* publish_written */
#define W_CLOSE     6     /* commit_poison: queue_close */
#define W_POISON    7     /* commit_poison: poisoned */
unsigned arena_end : 3;   /* queue_take: the records from `written` to here */
unsigned group_end : 3;

unsigned syncer_at : 3;   /* where the syncer is: */
#define S_FILE      1     /* sync_written: sync_file */
#define S_META      2     /* sync_written: store_meta, the write */
#define S_META_SYNC 3     /* ... and its fdatasync */
#define S_PUBLISH   4     /* publish_synced */
#define S_CLOSE     5     /* commit_poison */
#define S_POISON    6
unsigned sync_up_to : 3;  /* `written`, noted when the sync began */
unsigned sync_file : 2;   /* segment */
unsigned sync_last : 2;

byte asked[CLIENTS];      /* version that the client waits for; 0: none */
byte early[CLIENTS];      /* planted faults: version taken, not queued or not in memory */
unsigned looked : 3;      /* version that the reader has seen and not shown; 0: none */

unsigned start_at : 4;    /* where the start is: */
#define T_RESOLVE   1     /* the crash decides what of the unsynced is left */
#define T_REPLAY    2     /* map_load, log_walk */
#define T_SYNC      3     /* step 1: sync_kept */
#define T_DROP      4     /* step 2: drop_rest, unlink */
#define T_DROP_SYNC 5     /* ... sync_names */
#define T_EPOCH     6     /* step 3: begin_epoch, the write of meta */
#define T_EPOCH_SYNC 7
#define T_HEADER    8     /* step 4: begin_segment: header */
#define T_HEADER_SYNC 9
#define T_NEWEST    10    /* ... meta */
#define T_NEWEST_SYNC 11
#define T_OVER      12
unsigned kept : 3;        /* segments that replay went through */
unsigned log_end : 3;     /* position where the log ends */
unsigned known : 3;       /* what somebody said was synced */
unsigned start_segment : 3;

/* ---- For the assertions only ---- */

unsigned crashes : 2;     /* how many are left */
unsigned failures : 2;
unsigned budget : 3;      /* of records that may be queued */
bool disk_bad;            /* a sync of the log has failed */
bool killed;              /* the last crash was no power cut */
bool second;              /* life */
unsigned second_begin : 3; /* position where it began */
unsigned promised : 4;    /* up to here nothing may be lost, whatever happens */
unsigned promised_kill : 4; /* ... when only the process dies, on a disk that never failed */
unsigned expected : 4;    /* version that memory showed when nothing was under way; or NONE */

#define VERSION(position) ((position) == 0 -> 0 : version_of[(position) - 1])
#define COMMITTED_FULL    VERSION(synced)
#if defined(NORMAL_WHEN_QUEUED)
#define COMMITTED_NORMAL  VERSION(queued)
#elif defined(NORMAL_AFTER_FAILED_SYNC)
#define COMMITTED_NORMAL  VERSION(written)
#else
#define COMMITTED_NORMAL  (sync_failed -> VERSION(synced) : VERSION(written))
#endif

unsigned piece : 3;       /* scratch of resolve(), 0 elsewhere */

/* Scratch, no part of a state: only inside of a d_step, because going back does not
 * restore it. */
hidden byte i, j, limit, witness;
hidden byte refused, ended, hit, gap, behind; /* true or false */

/* A record's version was told to somebody as lasting: so its position counts. One
 * that is not in the log at all can only be lost. */
inline promise(version, floor)
{
    j = NONE;
    i = 0;
    do
    :: i < queued ->
        if
        :: version_of[i] == version -> j = i + 1
        :: else
        fi;
        i++
    :: else -> break
    od;
    RAISE(floor, j)
}

/* ---- Clients ---- */

inline queue_record(version)
{
    version_of[queued] = version;
    queued++;
    budget--
}

/* Client 0 writes under full, client 1 under normal; both the same key. */
active [CLIENTS] proctype client()
{
    do
    /* Under the stripe: version, record and memory are one step for everybody who
     * takes the stripe or the queue's lock. */
#if !defined(VERSION_OUTSIDE_STRIPE) && !defined(VERSION_OUTSIDE_QUEUE)
    :: d_step { alive && asked[_pid] == 0 && !closed && budget > 0 ->
        asked[_pid] = queued + 1;
        queue_record(queued + 1);
        memory = queued }
#elif defined(VERSION_OUTSIDE_STRIPE)
    /* Version and record first, the stripe and memory later. */
    :: d_step { alive && asked[_pid] == 0 && !closed && budget > 0 ->
        early[_pid] = queued + 1;
        asked[_pid] = queued + 1;
        queue_record(queued + 1) }
    :: d_step { alive && early[_pid] != 0 -> memory = early[_pid]; early[_pid] = 0 }
#else
    /* The version first, the queue's lock later. */
    :: d_step { alive && asked[_pid] == 0 && !closed && budget > 0 &&
                queued + 1 + (early[1 - _pid] != 0 -> 1 : 0) <= RECORDS ->
        early[_pid] = queued + 1 + (early[1 - _pid] != 0 -> 1 : 0);
        if
        :: early[_pid] == early[1 - _pid] -> early[_pid] = queued + 1
        :: else
        fi;
        asked[_pid] = early[_pid] }
    :: d_step { alive && early[_pid] != 0 && !closed ->
        queue_record(early[_pid]);
        memory = early[_pid];
        early[_pid] = 0 }
#endif
    /* The queue was closed behind its reservation: memory has it, the log has not. */
    :: d_step { alive && asked[_pid] == 0 && closed && memory <= queued && queued < RECORDS ->
        memory = queued + 1;
        asked[_pid] = memory;
        SEEN(RECORD_DROPPED) }
    :: d_step { alive && asked[_pid] != 0 && early[_pid] == 0 && _pid == 0 &&
                asked[_pid] <= COMMITTED_FULL ->
        promise(asked[_pid], promised);
        asked[_pid] = 0;
        SEEN(ACK_FULL) }
    :: d_step { alive && asked[_pid] != 0 && early[_pid] == 0 && _pid == 1 &&
                asked[_pid] <= COMMITTED_NORMAL ->
        if
        :: sync_failed -> promise(asked[_pid], promised)
        :: else -> promise(asked[_pid], promised_kill)
        fi;
        asked[_pid] = 0;
        SEEN(ACK_NORMAL) }
    /* give_up_gates */
    :: d_step { alive && asked[_pid] != 0 && poisoned &&
                asked[_pid] > (_pid == 0 -> COMMITTED_FULL : COMMITTED_NORMAL) ->
        asked[_pid] = 0;
        SEEN(UNKNOWN_RESULT) }
    od
}

/* A read under full: the reply leaves when what it saw is committed. */
active proctype reader()
{
    do
#ifdef READ_UNCOMMITTED
    :: d_step { alive && memory > promised -> promise(memory, promised); SEEN(READ_SHOWN) }
#else
    :: d_step { alive && looked == 0 && memory > promised -> looked = memory }
#endif
    :: d_step { alive && looked != 0 && looked <= COMMITTED_FULL ->
        promise(looked, promised);
        looked = 0;
        SEEN(READ_SHOWN) }
    :: d_step { alive && looked != 0 && poisoned && looked > COMMITTED_FULL -> looked = 0 }
    od
}

/* ---- The log's threads ---- */

active proctype writer()
{
    do
    :: d_step { alive && writer_at == IDLE && !poisoned && queued > written ->
        arena_end = queued;
        writer_at = W_GROUP }
    :: atomic { alive && writer_at == W_GROUP ->
        if
        :: group_end = written + 1
        :: arena_end > written + 1 -> group_end = arena_end; SEEN(GROUP_OF_TWO)
        fi;
        if
        :: writer_at = W_WRITE
        /* It is full; the next one is prepared: its name is durable. */
        :: s_groups[current] != 0 && current + 1 < SEGMENTS - (second -> 0 : 1) ->
            writer_at = W_HEADER;
            ADD(s_name, current + 1);
#ifndef NO_DIR_FSYNC
            ADD(s_name_disk, current + 1);
#endif
        fi }
    :: atomic { alive && writer_at == W_HEADER ->
        s_begin[current + 1] = written;
        s_synced[current + 1] = synced;
        if
        :: ADD(s_header, current + 1); writer_at = W_SEAL
        :: failures > 0 ->
            failures--;
            writer_at = W_CLOSE;
            SEEN(BEGIN_FAILED);
            if
            :: true
            :: ADD(s_header, current + 1) /* it is there all the same */
            fi
        fi }
    :: d_step { alive && writer_at == W_SEAL ->
        current = current + 1;
        writer_at = W_WRITE;
        SEEN(ROTATED) }
    :: atomic { alive && writer_at == W_WRITE ->
        g_begin[groups] = written;
        g_end[groups] = group_end;
#ifdef WITNESS_OF_WRITTEN
        g_synced[groups] = written;
#else
        g_synced[groups] = synced;
#endif
        ADD(s_groups[current], groups);
        if
        :: second -> ADD(g_second, groups); SEEN(SECOND_LIFE_WROTE)
        :: else
        fi;
        if
        :: ADD(g_file, groups); writer_at = W_PUBLISH
        :: failures > 0 ->
            failures--;
            writer_at = W_CLOSE;
            SEEN(WRITE_FAILED);
            if
            :: true
            :: ADD(g_file, groups)
            fi
        fi;
        groups++ }
    :: d_step { alive && writer_at == W_PUBLISH ->
        written = group_end;
        writer_at = (arena_end > written && !poisoned -> W_GROUP : IDLE) }
    :: d_step { alive && writer_at == W_CLOSE -> closed = true; writer_at = W_POISON }
    :: d_step { alive && writer_at == W_POISON -> poisoned = true; writer_at = IDLE }
    od
}

active proctype syncer()
{
    do
    :: d_step { alive && syncer_at == IDLE && !sync_failed && written > synced ->
        sync_up_to = written;
#ifdef SEALED_NOT_SYNCED
        sync_file = current;
#else
        sync_file = sealed;
#endif
        sync_last = current;
        sealed = current;
        syncer_at = S_FILE;
#ifdef EARLY_ACK
        synced = sync_up_to;
#endif
#ifdef NEWEST_BEFORE_HEADER
        m_newest = current;
        m_newest_disk = current;
#endif
        }
    :: atomic { alive && syncer_at == S_FILE ->
        if
        :: true -> /* it worked */
            g_disk = g_disk | (s_groups[sync_file] & g_file & ~g_clean);
            if
            :: HAS(s_header, sync_file) && !HAS(s_header_clean, sync_file) ->
                ADD(s_header_disk, sync_file)
            :: else
            fi
        :: failures > 0 ->
            failures--;
            g_clean = g_clean | (s_groups[sync_file] & g_file & ~g_disk);
            if
            :: HAS(s_header, sync_file) && !HAS(s_header_disk, sync_file) ->
                ADD(s_header_clean, sync_file)
            :: else
            fi;
            disk_bad = true;
            SEEN(SYNC_FAILED);
#if !defined(IGNORED_FSYNC) && !defined(REPEATED_SYNC)
            sync_failed = true;
#endif
#ifdef REPEATED_SYNC
            piece = 1;
#endif
        fi;
        if
#ifdef REPEATED_SYNC
        :: piece == 1 -> piece = 0 /* the same file again */
#endif
        :: sync_failed -> syncer_at = S_CLOSE
        :: piece == 0 && !sync_failed && sync_file < sync_last -> sync_file++; SEEN(SEALED_SYNCED)
        :: piece == 0 && !sync_failed && sync_file == sync_last && sync_last > m_newest ->
            syncer_at = S_META
        :: else -> syncer_at = S_PUBLISH
        fi;
        if
        :: written > sync_up_to -> SEEN(SYNC_BEHIND_WRITE)
        :: else
        fi }
    :: d_step { alive && syncer_at == S_META ->
        m_newest = sync_last;
        m_synced = sync_up_to;
        syncer_at = S_META_SYNC }
    /* Now and then what is synced goes to meta (meta_is_behind). */
    :: d_step { alive && syncer_at == IDLE && !poisoned && m_synced < synced ->
        m_synced = synced;
        sync_up_to = synced;
        syncer_at = S_META_SYNC }
    :: atomic { alive && syncer_at == S_META_SYNC ->
        if
        :: m_newest_disk = m_newest; m_synced_disk = m_synced; syncer_at = S_PUBLISH
        :: failures > 0 ->
            failures--;
            sync_failed = true;
            syncer_at = S_CLOSE;
            SEEN(META_FAILED)
        fi }
    :: d_step { alive && syncer_at == S_PUBLISH ->
        synced = sync_up_to;
        assert(synced <= written && written <= queued);
        syncer_at = IDLE }
    :: d_step { alive && syncer_at == S_CLOSE -> closed = true; syncer_at = S_POISON }
    :: d_step { alive && syncer_at == S_POISON -> poisoned = true; syncer_at = IDLE }
    od
}

/* ---- The crash ---- */

inline forget()
{
    alive = false;
    queued = 0; written = 0; synced = 0;
    closed = false; poisoned = false; sync_failed = false;
    memory = 0; current = 0; sealed = 0;
    writer_at = IDLE; arena_end = 0; group_end = 0;
    syncer_at = IDLE; sync_up_to = 0; sync_file = 0; sync_last = 0;
    asked[0] = 0; asked[1] = 0; early[0] = 0; early[1] = 0; looked = 0;
    kept = 0; log_end = 0; known = 0; start_segment = 0;
    start_at = T_RESOLVE
}

active proctype power()
{
    do
    :: atomic { (alive || (start_at > T_REPLAY && start_at < T_OVER)) && crashes > 0 ->
        crashes--;
        if
        :: start_at > T_REPLAY -> SEEN(CRASH_IN_START)
        :: else
        fi;
        expected = NONE;
        if
        :: alive && written == queued && !closed && !disk_bad && early[0] + early[1] == 0 ->
            expected = memory
        :: else
        fi;
        if
        :: killed = true; SEEN(KILLED)
        :: killed = false; expected = NONE; SEEN(POWER_CUT)
        fi;
        forget() }
    od
}

/* ---- The start ---- */

/* Of what was not synced each piece is there or not, in any combination. Of a process
 * that was killed all is there, but for pages that a failed sync made clean: the system
 * may drop those and read the disk again. */
inline resolve()
{
    piece = 0;
    do
    :: piece < groups ->
        if
        :: HAS(g_file, piece) && !HAS(g_disk, piece) && (!killed || HAS(g_clean, piece)) ->
            if
            :: !killed -> ADD(g_disk, piece); SEEN(UNSYNCED_KEPT)
            :: killed
            :: CUT(g_file, piece);
                if
                :: killed -> SEEN(PAGES_EVICTED)
                :: else -> SEEN(UNSYNCED_LOST)
                fi
            fi
        :: else
        fi;
        piece++
    :: else -> break
    od;
    piece = 0;
    do
    :: piece < SEGMENTS ->
        if
        :: !killed && HAS(s_name, piece) != HAS(s_name_disk, piece) ->
            if
            :: ADD(s_name, piece); SEEN(UNLINK_LOST)
            :: CUT(s_name, piece)
            fi
        :: else
        fi;
        if
        :: HAS(s_header, piece) && !HAS(s_header_disk, piece) &&
           (!killed || HAS(s_header_clean, piece)) ->
            if
            :: !killed -> ADD(s_header_disk, piece)
            :: killed
            :: CUT(s_header, piece); SEEN(HEADER_LOST)
            fi
        :: else
        fi;
        piece++
    :: else -> break
    od;
    if
    :: killed
    :: !killed -> m_newest_disk = m_newest; m_synced_disk = m_synced
    :: !killed -> m_newest = m_newest_disk; m_synced = m_synced_disk
    fi;
    if
    :: killed
    :: else -> s_name_disk = s_name; g_clean = 0; s_header_clean = 0
    fi;
    piece = 0;
    d_step {
        /* Files that are gone, and what is no group or header any more. */
        i = 0;
        do
        :: i < SEGMENTS ->
            if
            :: !HAS(s_name, i) ->
                g_file = g_file & ~s_groups[i];
                s_groups[i] = 0;
                CUT(s_header, i)
            :: else
            fi;
            if
            :: !HAS(s_header, i) -> s_begin[i] = 0; s_synced[i] = 0
            :: else
            fi;
            i++
        :: else -> break
        od;
        g_disk = g_disk & g_file;
        g_clean = g_clean & g_file;
        g_second = g_second & g_file;
        s_header_disk = s_header_disk & s_header;
        s_header_clean = s_header_clean & s_header;
        i = 0
    }
}

#define BEGUN(s) (HAS(s_name, s) && HAS(s_header, s))

/* reader.c, load_segments: numbers without a gap; no header missing that meta vouches for. */
inline load_segments()
{
    refused = false;
    gap = false;
    j = NONE;
    i = 0;
    do
    :: i < SEGMENTS ->
        if
        :: !HAS(s_name, i) -> gap = true
        :: HAS(s_name, i) && gap -> refused = true
        :: HAS(s_name, i) && !gap && !HAS(s_header, i) && i <= m_newest -> refused = true
        :: HAS(s_name, i) && !gap && HAS(s_header, i) -> j = i
        :: else
        fi;
        i++
    :: else -> break
    od;
    if
    :: j == NONE -> refused = true
    :: j != NONE && j < m_newest -> refused = true
    :: else
    fi
}

/* reader.c, end_here: there is no group at log_end in segment i. Was anything behind it
 * ever promised to be durable? */
inline end_here()
{
    ended = true;
    behind = false;
    witness = m_synced;
    j = 0;
    do
    :: j < groups ->
        if
        :: HAS(g_file, j) && HAS(s_groups[i], j) && g_begin[j] > log_end ->
            RAISE(witness, g_synced[j]);
            behind = true;
            SEEN(HOLE_CUT_OFF)
        :: else
        fi;
        j++
    :: else -> break
    od;
    limit = i + 1;
    do
    :: limit < SEGMENTS ->
        if
        :: BEGUN(limit) ->
            behind = true;
            SEEN(SUCCESSOR_CUT_OFF);
            RAISE(witness, s_synced[limit]);
            j = 0;
            do
            :: j < groups ->
                if
                :: HAS(g_file, j) && HAS(s_groups[limit], j) -> RAISE(witness, g_synced[j])
                :: else
                fi;
                j++
            :: else -> break
            od
        :: else
        fi;
        limit++
    :: else -> break
    od;
    if
    :: behind -> SEEN(TAIL_DROPPED)
    :: else
    fi;
    if
    :: witness > log_end -> refused = true
    :: else
    fi
}

/* reader.c, log_walk. */
inline walk()
{
    log_end = 0;
    kept = 0;
    known = m_synced;
    ended = refused;
    i = 0;
    do
    :: !ended && i < SEGMENTS && BEGUN(i) ->
        kept = i + 1;
        RAISE(known, s_synced[i]);
        refused = refused || s_begin[i] != log_end;
        limit = NONE;
        if
        :: i + 1 < SEGMENTS && BEGUN(i + 1) -> limit = s_begin[i + 1]
        :: else
        fi;
        hit = true;
        do
        :: hit && log_end < limit && !refused ->
            hit = false;
            j = 0;
            do
            :: j < groups && !hit ->
                hit = HAS(g_file, j) && HAS(s_groups[i], j) && g_begin[j] == log_end;
                if
                :: !hit -> j++
                :: else
                fi
            :: else -> break
            od;
            if
            :: hit && g_end[j] > limit -> refused = true
            :: hit && g_end[j] <= limit ->
                RAISE(known, g_synced[j]);
                /* Nothing of the first life stands where the second one has written. */
                assert(!second || HAS(g_second, j) == (log_end >= second_begin));
                log_end = g_end[j]
            :: else -> end_here(); limit = NONE
            fi
        :: else -> break
        od;
        if
        :: limit == NONE -> ended = true
        :: else
        fi;
        ended = ended || refused;
        i++
    :: else -> break
    od
}

inline check()
{
    /* A crash alone leaves nothing that is called damage. */
    assert(!refused);
    /* What was acknowledged or shown under full is there. */
    assert(log_end >= promised);
    /* What was acknowledged under normal outlives the process. */
    assert(!killed || disk_bad || log_end >= promised_kill);
    /* With nothing under way the log is what memory was. */
    j = 0;
    i = 0;
    do
    :: i < log_end -> RAISE(j, version_of[i]); i++
    :: else -> break
    od;
    assert(expected == NONE || expected == j);
    if
    :: log_end == 0 -> SEEN(RECOVERED_EMPTY)
    :: log_end == RECORDS -> SEEN(RECOVERED_ALL)
    :: else
    fi
}

active proctype start()
{
    d_step {
        c_code { atexit(tell_seen); };
        budget = RECORDS;
        crashes = CRASHES;
        failures = FAILURES;
        expected = NONE;
        /* A new directory: its first segment is there, and meta knows of it. */
        s_name = 1; s_name_disk = 1; s_header = 1; s_header_disk = 1;
        alive = true
    }
    do
    :: atomic { start_at == T_RESOLVE -> resolve(); start_at = T_REPLAY }
    :: d_step { start_at == T_REPLAY ->
        load_segments();
        walk();
        check();
        expected = NONE;
        i = log_end;
        do
        :: i < RECORDS -> version_of[i] = 0; i++
        :: else -> break
        od;
        if
        :: killed
        :: else -> promised_kill = 0 /* it was the power: that promise is void */
        fi;
        start_at = (crashes > 0 -> T_SYNC : T_OVER);
#ifdef NO_SYNC_AT_START
        start_segment = kept;
        start_at = (crashes > 0 -> T_DROP : T_OVER);
#endif
        }
    :: d_step { start_at == T_SYNC && start_segment < kept ->
        limit = log_end;
        if
        :: start_segment + 1 < kept -> limit = s_begin[start_segment + 1]
        :: else
        fi;
        if
        :: limit > known || start_segment > m_newest ->
            /* Written again from `known` on, then synced. */
#ifndef NO_REWRITE
            j = 0;
            do
            :: j < groups ->
                if
                :: HAS(s_groups[start_segment], j) && HAS(g_clean, j) && g_end[j] > known &&
                   g_end[j] <= limit ->
                    CUT(g_clean, j); SEEN(REWRITTEN)
                :: else
                fi;
                j++
            :: else -> break
            od;
            if
            :: start_segment > m_newest -> CUT(s_header_clean, start_segment)
            :: else
            fi;
#endif
            g_disk = g_disk | (s_groups[start_segment] & g_file & ~g_clean);
            if
            :: !HAS(s_header_clean, start_segment) -> ADD(s_header_disk, start_segment)
            :: else
            fi
        :: else
        fi;
        start_segment++ }
    :: d_step { start_at == T_SYNC && start_segment == kept -> start_at = T_DROP }
    :: d_step { start_at == T_DROP ->
        /* The newest that lies behind the end. */
        j = NONE;
        i = kept;
        do
        :: i < SEGMENTS ->
            if
#ifdef DROP_OLDEST_FIRST
            :: HAS(s_name, i) && j == NONE -> j = i
#else
            :: HAS(s_name, i) -> j = i
#endif
            :: else
            fi;
            i++
        :: else -> break
        od;
        if
        :: j == NONE -> start_at = T_EPOCH
        :: else ->
            CUT(s_name, j);
            start_segment = j;
            start_at = T_DROP_SYNC;
            SEEN(SEGMENT_DROPPED)
        fi }
    :: d_step { start_at == T_DROP_SYNC ->
        CUT(s_name_disk, start_segment);
        g_file = g_file & ~s_groups[start_segment];
        g_disk = g_disk & g_file;
        g_clean = g_clean & g_file;
        s_groups[start_segment] = 0;
        s_begin[start_segment] = 0;
        s_synced[start_segment] = 0;
        CUT(s_header, start_segment);
        CUT(s_header_disk, start_segment);
        CUT(s_header_clean, start_segment);
        start_at = T_DROP }
    :: d_step { start_at == T_EPOCH -> m_synced = log_end; start_at = T_EPOCH_SYNC }
    :: d_step { start_at == T_EPOCH_SYNC ->
        m_synced_disk = m_synced;
        m_newest_disk = m_newest;
        start_at = T_HEADER }
    :: d_step { start_at == T_HEADER ->
        ADD(s_name, kept);
        ADD(s_name_disk, kept);
        ADD(s_header, kept);
        s_begin[kept] = log_end;
        s_synced[kept] = log_end;
        start_at = T_HEADER_SYNC }
    :: d_step { start_at == T_HEADER_SYNC -> ADD(s_header_disk, kept); start_at = T_NEWEST }
    :: d_step { start_at == T_NEWEST -> m_newest = kept; start_at = T_NEWEST_SYNC }
    :: d_step { start_at == T_NEWEST_SYNC ->
        m_newest_disk = m_newest;
        /* Everything that was found counts as synced now: anybody may be shown it. */
        promised = log_end;
        promised_kill = 0;
        disk_bad = false;
        second = true;
        second_begin = log_end;
        current = kept;
        sealed = kept;
        queued = log_end; written = log_end; synced = log_end; memory = log_end;
        kept = 0; log_end = 0; known = 0; start_segment = 0;
        start_at = 0;
        alive = true;
        SEEN(STARTED) }
    od
}
