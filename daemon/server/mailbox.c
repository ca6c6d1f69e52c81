#include "server/mailbox.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum brd_status
mailbox_init(struct mailbox *mailbox)
{
    *mailbox = (struct mailbox){ .event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
    if (mailbox->event_fd < 0)
        return BRD_IO_ERROR;
    brd_mutex_init(&mailbox->lock, BRD_RANK_MAILBOX);
    return BRD_OK;
}

void
mailbox_fini(struct mailbox *mailbox)
{
    size_t i;

    if (mailbox->event_fd < 0)
        return;
    for (i = 0; i < mailbox->count; i++)
        close(mailbox->arrivals[i].fd);
    free(mailbox->arrivals);
    brd_mutex_fini(&mailbox->lock);
    close(mailbox->event_fd);
    mailbox->event_fd = -1;
}

/* Something was posted: unlock, and wake the owner if nobody has. Outside the lock, into which
 * it would wake: on one processor it runs at once, and would have to sleep again. Whoever finds
 * `signalled` set before that is fine: the write is still to come, and where the owner has
 * been there meanwhile it finds an empty mailbox. The counter of the eventfd cannot overflow: it
 * is written once per take. */
static void
unlock_and_signal(struct mailbox *mailbox) BRD_RELEASE(&mailbox->lock)
{
    bool first = !mailbox->signalled;

    mailbox->signalled = true;
    brd_mutex_unlock(&mailbox->lock);
    if (first)
        BRD_CHECK(eventfd_write(mailbox->event_fd, 1) == 0);
}

bool
mailbox_post_arrival(struct mailbox *mailbox, const struct arrival *arrival)
{
    bool done;

    brd_mutex_lock(&mailbox->lock);
    done = !mailbox->stopped;
    if (done && mailbox->count == mailbox->room) {
        size_t room = mailbox->room == 0 ? 16 : mailbox->room * 2;
        struct arrival *larger = realloc(mailbox->arrivals, room * sizeof(*larger));

        if (larger != NULL) {
            mailbox->arrivals = larger;
            mailbox->room = room;
        }
        done = larger != NULL;
    }
    if (!done) {
        brd_mutex_unlock(&mailbox->lock);
        return false;
    }
    mailbox->arrivals[mailbox->count++] = *arrival;
    unlock_and_signal(mailbox);
    return true;
}

void
mailbox_post_note(struct mailbox *mailbox, enum mailbox_note note)
{
    brd_mutex_lock(&mailbox->lock);
    mailbox->notes |= note;
    unlock_and_signal(mailbox);
}

void
mailbox_take(struct mailbox *mailbox, struct mail *out_mail)
{
    eventfd_t ignored;

    /* First the eventfd, then the queue: what is posted in between finds
     * `signalled` still set, and is taken here. */
    (void)eventfd_read(mailbox->event_fd, &ignored);
    brd_mutex_lock(&mailbox->lock);
    *out_mail = (struct mail){ .arrivals = mailbox->arrivals,
                               .count = mailbox->count,
                               .notes = mailbox->notes };
    mailbox->arrivals = NULL;
    mailbox->count = 0;
    mailbox->room = 0;
    mailbox->stopped |= (mailbox->notes & NOTE_STOP) != 0;
    mailbox->notes = 0;
    mailbox->signalled = false;
    brd_mutex_unlock(&mailbox->lock);
}

void
mailbox_mail_fini(struct mail *mail)
{
    free(mail->arrivals);
    mail->arrivals = NULL;
    mail->count = 0;
}
