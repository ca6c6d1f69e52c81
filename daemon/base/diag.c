/* A line is formatted in a local buffer and written with one write(2), so lines
 * of several threads never mix and no lock is held during the call. The level
 * and the journal flag are the only state, both set once or atomically. */
#include "base/diag.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

static _Atomic int shown_level = BRD_DIAG_INFO; /* relaxed */
static _Atomic int to_journal = -1;             /* -1: not known yet; relaxed */

/* $JOURNAL_STREAM is "device:inode" of the stream that systemd connected. */
static int
stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device;
    unsigned long long inode;
    struct stat st;

    if (stream == NULL || sscanf(stream, "%llu:%llu", &device, &inode) != 2)
        return 0;
    return fstat(STDERR_FILENO, &st) == 0 && (unsigned long long)st.st_dev == device &&
           (unsigned long long)st.st_ino == inode;
}

static const char *
level_name(enum brd_diag_level level)
{
    switch (level) {
    case BRD_DIAG_ERROR:
        return "error";
    case BRD_DIAG_WARNING:
        return "warning";
    case BRD_DIAG_NOTICE:
        return "notice";
    case BRD_DIAG_INFO:
        return "info";
    case BRD_DIAG_DEBUG:
        return "debug";
    }
    return "?";
}

static void
put_line(char *line, size_t size)
{
    size_t i;

    /* One line stays one line, whatever a path or an address holds. */
    for (i = 0; i + 1 < size; i++)
        if ((unsigned char)line[i] < 0x20)
            line[i] = '?';
    while (size > 0) {
        ssize_t n = write(STDERR_FILENO, line, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nobody listens; there is nowhere to report that */
        line += n;
        size -= (size_t)n;
    }
}

static void __attribute__((format(printf, 3, 0)))
finish_line(char *line, size_t used, const char *format, va_list args)
{
    int n = vsnprintf(line + used, LINE_MAX_BYTES - used, format, args);

    if (n > 0)
        used += (size_t)n < LINE_MAX_BYTES - used - 1 ? (size_t)n : LINE_MAX_BYTES - used - 2;
    line[used++] = '\n';
    put_line(line, used);
}

void
brd_diag_set_level(enum brd_diag_level level)
{
    atomic_store_explicit(&shown_level, (int)level, memory_order_relaxed);
}

void
brd_diag(enum brd_diag_level level, const char *format, ...)
{
    int journal = atomic_load_explicit(&to_journal, memory_order_relaxed);
    char line[LINE_MAX_BYTES];
    size_t used;
    va_list args;

    if ((int)level > atomic_load_explicit(&shown_level, memory_order_relaxed))
        return;
    if (journal < 0) {
        journal = stderr_is_journal();
        atomic_store_explicit(&to_journal, journal, memory_order_relaxed);
    }
    if (journal) {
        used = (size_t)snprintf(line, sizeof(line), "<%d>", (int)level);
    } else {
        struct timespec now;
        struct tm tm;

        clock_gettime(CLOCK_REALTIME, &now);
        gmtime_r(&now.tv_sec, &tm);
        used = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
        used += (size_t)snprintf(line + used, sizeof(line) - used,
                                 ".%03ldZ %s: ", now.tv_nsec / 1000000, level_name(level));
    }
    va_start(args, format);
    finish_line(line, used, format, args);
    va_end(args);
}

void
brd_diag_plain(const char *format, ...)
{
    char line[LINE_MAX_BYTES];
    va_list args;

    va_start(args, format);
    finish_line(line, 0, format, args);
    va_end(args);
}
