/* Messages for the operator: one line each on stderr.
 *
 * Under systemd ($JOURNAL_STREAM names stderr) a line begins with the journal's
 * priority, "<4>"; otherwise with the time and the level's name. Nothing is
 * logged per request, and never a key, a value or a secret. */
#ifndef BRD_BASE_DIAG_H
#define BRD_BASE_DIAG_H

/* The numbers are syslog's. */
enum brd_diag_level {
    BRD_DIAG_ERROR = 3,
    BRD_DIAG_WARNING = 4,
    BRD_DIAG_NOTICE = 5,
    BRD_DIAG_INFO = 6,
    BRD_DIAG_DEBUG = 7,
};

/* Only lines of this level or a more urgent one are printed. Default INFO. */
void brd_diag_set_level(enum brd_diag_level level);

/* Print one line; the newline is added. Any thread; never under a stripe. */
void
brd_diag(enum brd_diag_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Print a line without time or level: the ready line, which tools read. */
void brd_diag_plain(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define brd_diag_error(...)   brd_diag(BRD_DIAG_ERROR, __VA_ARGS__)
#define brd_diag_warning(...) brd_diag(BRD_DIAG_WARNING, __VA_ARGS__)
#define brd_diag_notice(...)  brd_diag(BRD_DIAG_NOTICE, __VA_ARGS__)
#define brd_diag_info(...)    brd_diag(BRD_DIAG_INFO, __VA_ARGS__)
#define brd_diag_debug(...)   brd_diag(BRD_DIAG_DEBUG, __VA_ARGS__)

#endif
