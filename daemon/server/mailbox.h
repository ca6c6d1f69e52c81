/* What other threads tell a worker: new connections, and notes.
 *
 * An eventfd for epoll and a queue behind a lock. Notes are bits, so that many
 * of one kind before the worker looks are one; the eventfd is written once per
 * look. Once NOTE_STOP has been taken, nobody reads it any more and arrivals are
 * refused. Threads: post from any; take from the owner. */
#ifndef BRD_SERVER_MAILBOX_H
#define BRD_SERVER_MAILBOX_H

#include "base/lock.h"
#include "base/status.h"
#include "server/peers.h"

#include <stddef.h>

enum mailbox_note {
    NOTE_PROGRESS = 1, /* the log has moved */
    NOTE_LIMITS = 2,   /* the server's limits have changed */
    NOTE_PING = 4,     /* answer with a sign of life */
    NOTE_STOP = 8,     /* drain and end */
    NOTE_HELD = 16,    /* give up replies that hold large values which nobody keeps */
};

/* A connection that was accepted; fd is owned by whoever holds this. */
struct arrival {
    int fd;
    struct peer peer;
};

struct mailbox {
    int event_fd;
    struct brd_mutex lock;    /* BRD_RANK_MAILBOX: all below */
    struct arrival *arrivals; /* owned */
    size_t count;
    size_t room;
    unsigned notes;
    bool signalled; /* the eventfd has been written since the last take */
    bool stopped;   /* NOTE_STOP has been taken */
};

/* What was in the mailbox; arrivals, and only they, are freed by
 * mailbox_mail_fini. */
struct mail {
    struct arrival *arrivals;
    size_t count;
    unsigned notes;
};

/* Returns BRD_OK or BRD_IO_ERROR (no descriptor). */
BRD_MUST_CHECK enum brd_status mailbox_init(struct mailbox *mailbox);

/* Closes what was never taken. */
void mailbox_fini(struct mailbox *mailbox);

/* False, and fd stays the caller's, where memory is out or the owner stops. */
bool mailbox_post_arrival(struct mailbox *mailbox, const struct arrival *arrival);

void mailbox_post_note(struct mailbox *mailbox, enum mailbox_note note);

/* Take everything. */
void mailbox_take(struct mailbox *mailbox, struct mail *out_mail);
void mailbox_mail_fini(struct mail *mail);

#endif
