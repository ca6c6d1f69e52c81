/* The table of options. A line here is all that an option needs to be read from a
 * file, the environment and the command line, checked, printed and explained;
 * config.c puts it to use. */
#ifndef BRD_CONFIG_OPTIONS_H
#define BRD_CONFIG_OPTIONS_H

#include "base/clock.h"

#include <stdint.h>

enum config_type {
    CONFIG_TEXT,
    CONFIG_LIST, /* texts joined by commas; may be given several times */
    CONFIG_BOOL, /* yes, no */
    CONFIG_NUMBER,
    CONFIG_SIZE,   /* bytes: 64kb, 512mb */
    CONFIG_TIME,   /* nanoseconds: 100ms, 30s, 5min, 1h */
    CONFIG_MODE,   /* octal */
    CONFIG_CHOICE, /* a word of a list: the number is its place */
};

#define CONFIG_AUTO   UINT64_MAX /* the number of the word "auto" */
#define CONFIG_NO_MAX (UINT64_MAX - 1)

#define CONFIG_KB UINT64_C(1024)
#define CONFIG_MB (CONFIG_KB * 1024)
#define CONFIG_GB (CONFIG_MB * 1024)
#define CONFIG_TB (CONFIG_GB * 1024)

/* X(ID, section, key, type, default, word, word's number, least, most, reload,
 *   choices, help)
 * default   as it would be written; NULL: worked out when the rest is known
 * word      a word that is accepted instead of a value, or NULL
 * reload    1: SIGHUP changes it; 0: it needs a restart
 * choices   the words of a CONFIG_CHOICE, blanks between them; of a size: a second word,
 *           which stands for 0 */
/* clang-format off */
#define CONFIG_OPTIONS(X) \
    X(LISTEN, "server", "listen", LIST, "127.0.0.1:7420", NULL, 0, 0, 0, 0, NULL, \
      "where clients of the native protocol connect: HOST:PORT, [V6]:PORT, unix:PATH or none, " \
      "several joined by commas; port 0 picks one") \
    X(RESP_LISTEN, "server", "resp-listen", LIST, "127.0.0.1:7421", NULL, 0, 0, 0, 0, NULL, \
      "the same for the Redis protocol, which this version does not speak yet") \
    X(HTTP_LISTEN, "server", "http-listen", LIST, "127.0.0.1:7422", NULL, 0, 0, 0, 0, NULL, \
      "the same for health and metrics over HTTP, which this version does not offer yet") \
    X(ALLOW_INSECURE, "server", "allow-insecure", BOOL, "no", NULL, 0, 0, 1, 0, NULL, \
      "listen on addresses that other machines can reach, although clients need no password yet") \
    X(SOCKET_MODE, "server", "socket-mode", MODE, "0660", NULL, 0, 0, 0777, 0, NULL, \
      "permissions of unix sockets") \
    X(WORKERS, "server", "workers", NUMBER, "auto", "auto", CONFIG_AUTO, 1, 1024, 0, NULL, \
      "threads that serve connections; auto: one for each CPU") \
    X(BALANCE_CONNECTIONS, "server", "balance-connections", BOOL, "yes", NULL, 0, 0, 1, 0, NULL, \
      "give connections of a busy worker to an idle one") \
    X(BACKLOG, "server", "backlog", NUMBER, "4096", NULL, 0, 1, 65535, 0, NULL, \
      "connections that may wait to be accepted") \
    X(SHUTDOWN_TIMEOUT, "server", "shutdown-timeout", TIME, "3s", NULL, 0, 0, CONFIG_NO_MAX, 1, NULL, \
      "at a stop, requests that have arrived are finished for so long") \
    X(LOG_LEVEL, "server", "log-level", CHOICE, "info", NULL, 0, 0, 0, 1, \
      "error warning notice info debug", "messages of this kind and more urgent ones are printed") \
    \
    X(MAX_CONNECTIONS, "limits", "max-connections", NUMBER, "10000", NULL, 0, 1, 10000000, 1, NULL, \
      "connections at the same time") \
    X(MAX_CONNECTIONS_PER_ADDRESS, "limits", "max-connections-per-address", NUMBER, "256", "off", 0, \
      1, 10000000, 1, NULL, "of one remote address; loopback and unix sockets are not counted") \
    X(MAX_KEY_SIZE, "limits", "max-key-size", SIZE, "64kb", NULL, 0, 1, CONFIG_MB, 0, NULL, \
      "length of a key") \
    X(MAX_VALUE_SIZE, "limits", "max-value-size", SIZE, "64mb", NULL, 0, 1, CONFIG_GB, 0, NULL, \
      "length of a value") \
    X(MAX_FRAME_SIZE, "limits", "max-frame-size", SIZE, "auto", "auto", CONFIG_AUTO, CONFIG_KB, \
      CONFIG_GB + CONFIG_GB, 0, NULL, "length of a request; auto: the longest value, the longest key and 1mb") \
    X(MAX_BATCH_KEYS, "limits", "max-batch-keys", NUMBER, "16384", NULL, 0, 1, 1048576, 0, NULL, \
      "keys in one request") \
    X(MAX_PENDING_REQUESTS, "limits", "max-pending-requests", NUMBER, "1024", NULL, 0, 1, 65536, 1, \
      NULL, "unanswered requests of a connection, after which it is not read from") \
    X(OUTPUT_SOFT_LIMIT, "limits", "output-soft-limit", SIZE, "2mb", NULL, 0, 4 * CONFIG_KB, CONFIG_GB, 1, \
      NULL, "unsent replies of a connection, after which it is not read from") \
    X(OUTPUT_SOFT_TIME, "limits", "output-soft-time", TIME, "10s", "off", 0, 1, CONFIG_NO_MAX, 1, \
      NULL, "after so long above the soft limit a connection is closed") \
    X(OUTPUT_HARD_LIMIT, "limits", "output-hard-limit", SIZE, "8mb", NULL, 0, 4 * CONFIG_KB, CONFIG_TB, 1, \
      NULL, "unsent replies behind the one being sent, at which a connection is closed at once") \
    X(OUTPUT_BLOB_LIMIT, "limits", "output-blob-limit", SIZE, "64mb", NULL, 0, CONFIG_KB, CONFIG_TB, \
      1, NULL, "unsent large values, after which a connection is not read from") \
    X(BUFFER_LIMIT, "limits", "buffer-limit", SIZE, "auto", "auto", CONFIG_AUTO, 0, CONFIG_NO_MAX, 1, \
      NULL, "requests that have begun, and unsent replies without large values, of all connections, " \
      "half for each; as much again for large values that were replaced or removed while they " \
      "are sent; 0: no limit; auto: a quarter of max-memory, at least 256mb") \
    X(PROGRESS_SIZE, "limits", "progress-size", SIZE, "16kb", NULL, 0, 1, CONFIG_GB, 1, NULL, \
      "a request that has begun, and a reply being sent, must move by so much") \
    X(PROGRESS_TIME, "limits", "progress-time", TIME, "10s", "off", 0, 1, CONFIG_NO_MAX, 1, NULL, \
      "in so long, or end, or the connection is closed") \
    X(IDLE_TIMEOUT, "limits", "idle-timeout", TIME, "300s", "off", 0, 1, CONFIG_NO_MAX, 1, NULL, \
      "a connection on which nothing happens for so long is closed") \
    X(KEEPALIVE_IDLE, "limits", "keepalive-idle", TIME, "60s", NULL, 0, BRD_NS_PER_S, \
      32767 * BRD_NS_PER_S, 0, NULL, "TCP asks a silent peer whether it is there after so long") \
    X(KEEPALIVE_INTERVAL, "limits", "keepalive-interval", TIME, "10s", NULL, 0, BRD_NS_PER_S, \
      32767 * BRD_NS_PER_S, 0, NULL, "and again every so long") \
    X(KEEPALIVE_COUNT, "limits", "keepalive-count", NUMBER, "3", NULL, 0, 1, 127, 0, NULL, \
      "and gives up after so many questions") \
    X(USER_TIMEOUT, "limits", "user-timeout", TIME, "30s", NULL, 0, BRD_NS_PER_MS, \
      86400 * BRD_NS_PER_S, 0, NULL, "TCP breaks a connection that has not taken data for so long") \
    \
    X(MAX_MEMORY, "memory", "max-memory", SIZE, "auto", "auto", CONFIG_AUTO, 0, CONFIG_NO_MAX, 1, \
      NULL, "keys, values and what they need besides; 0: no limit; auto: 60 % of the machine's " \
      "memory, or of the control group's limit") \
    X(EVICTION, "memory", "eviction", CHOICE, "auto", NULL, 0, 0, 0, 1, \
      "auto noeviction s3fifo lru volatile-ttl random allkeys-lru allkeys-lfu allkeys-random " \
      "volatile-lru volatile-lfu volatile-random", \
      "who goes at the memory limit; noeviction: nobody, writes are refused; auto: s3fifo where " \
      "durability is none, else noeviction") \
    X(STRIPES, "memory", "stripes", NUMBER, "256", NULL, 0, 1, 65536, 0, NULL, \
      "locks of the key space: a power of two") \
    X(HUGE_PAGES, "memory", "huge-pages", BOOL, "no", NULL, 0, 0, 1, 0, NULL, \
      "keep data in pages of 2 MiB where the system's transparent huge pages are madvise or " \
      "always: faster, but slower to give memory back") \
    \
    X(DATA_DIR, "storage", "data-dir", TEXT, NULL, NULL, 0, 0, 0, 0, NULL, \
      "where the log is kept; none: in memory only. Default: $STATE_DIRECTORY, else ./brindle-data") \
    X(KEY_FILE, "storage", "key-file", TEXT, "none", NULL, 0, 0, 0, 1, NULL, \
      "the keys that what is in data-dir is encrypted under, one a line, the current one first; none: " \
      "nothing is encrypted. SIGHUP reads the file again. Without the option " \
      "$CREDENTIALS_DIRECTORY/brindle.key is used if it is there") \
    X(MAX_CLOCK_STEP, "storage", "max-clock-step", TIME, "1h", NULL, 0, BRD_NS_PER_S, CONFIG_NO_MAX, 0, \
      NULL, "a larger step forward of the system's clock is reported and not followed") \
    X(MAX_CLOCK_BEHIND, "storage", "max-clock-behind", TIME, "1h", NULL, 0, BRD_NS_PER_S, \
      CONFIG_NO_MAX, 0, NULL, "a start whose clock is further behind the log is refused") \
    X(IGNORE_CLOCK, "storage", "ignore-clock", BOOL, "no", NULL, 0, 0, 1, 0, NULL, \
      "start although the clock is behind the log") \
    X(REAP_INTERVAL, "storage", "reap-interval", TIME, "100ms", NULL, 0, BRD_NS_PER_MS, \
      BRD_NS_PER_S, 0, NULL, "how often expired keys are removed") \
    \
    X(WAL_SEGMENT_SIZE, "wal", "wal-segment-size", SIZE, "64mb", NULL, 0, CONFIG_MB, CONFIG_GB, 0, \
      NULL, "a file of the log") \
    X(WAL_QUEUE_SIZE, "wal", "wal-queue-size", SIZE, "64mb", NULL, 0, CONFIG_MB, 16 * CONFIG_GB, 0, \
      NULL, "writes that may wait to be logged, after which connections wait") \
    X(WAL_SYNC_INTERVAL, "wal", "wal-sync-interval", TIME, "1s", NULL, 0, BRD_NS_PER_MS, \
      3600 * BRD_NS_PER_S, 0, NULL, "what is written is synced to the disk within this time; a power " \
      "cut may cost twice as much of what was acknowledged under normal") \
    X(DISK_RESERVE, "wal", "disk-reserve", SIZE, "auto", "auto", CONFIG_AUTO, 0, CONFIG_NO_MAX, 1, \
      "off", "what is kept free of the disk for a checkpoint; with less, writes are refused; auto: what " \
      "a checkpoint takes, within bounds") \
    X(CHECKPOINT_LOG_SIZE, "wal", "checkpoint-log-size", SIZE, "256mb", "off", 0, 0, CONFIG_TB, 0, \
      NULL, "a checkpoint after so much log, or as much as the last snapshot has, if that is more") \
    X(CHECKPOINT_INTERVAL, "wal", "checkpoint-interval", TIME, "1h", "off", 0, 0, \
      365 * 24 * 3600 * BRD_NS_PER_S, 0, NULL, "a checkpoint after so long, if anything was written") \
    X(CHECKPOINT_RATE, "wal", "checkpoint-rate", SIZE, "64mb", "off", 0, 0, CONFIG_TB, 0, NULL, \
      "what a checkpoint writes in a second at most") \
    X(CHECKPOINT_ON_STOP, "wal", "checkpoint-on-stop", BOOL, "no", NULL, 0, 0, 1, 0, NULL, \
      "make a checkpoint before an orderly end, which then takes longer") \
    \
    X(DURABILITY, "namespace default", "durability", CHOICE, NULL, NULL, 0, 0, 0, 0, \
      "none async normal full", "when a write is acknowledged: applied, queued, written to the " \
      "operating system, or synced; none is refused where data-dir holds what was logged. Default: " \
      "normal, or none where data-dir is none") \
    X(WARM, "namespace default", "warm", BOOL, "no", NULL, 0, 0, 1, 0, NULL, \
      "where durability is none: write everything to data-dir at an orderly stop, for the next " \
      "start; after a crash the cache is empty")
/* clang-format on */

#endif
