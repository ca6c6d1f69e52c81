/* Doors: the sockets that clients connect to.
 *
 * From the text of an address to a bound socket, and later a listening one.
 * Binding early shows a port in use before recovery begins; listening late
 * keeps clients out until there is somebody to answer. One thread. */
#ifndef BRD_SERVER_DOOR_H
#define BRD_SERVER_DOOR_H

#include "server/server.h"

#define DOORS_MAX 64

struct door {
    int fd;     /* owned; -1: not open yet (unix sockets are bound when they listen) */
    int family; /* AF_INET, AF_INET6, AF_UNIX */
    bool inherited;
    bool bound_path; /* the socket's file is ours: remove it at the end */
    dev_t device;    /* of that file */
    ino_t inode;
    char text[128]; /* HOST:PORT, [V6]:PORT or unix:PATH */
};

struct doors {
    struct door door[DOORS_MAX];
    size_t count;
};

/* Open what the options say. Results as those of brd_server_create. */
BRD_MUST_CHECK enum brd_status
doors_open(struct doors *doors, const struct brd_server_options *options,
           struct brd_server_error *out_error);

BRD_MUST_CHECK enum brd_status
doors_listen(struct doors *doors, const struct brd_server_options *options,
             struct brd_server_error *out_error);

/* Close them and remove the files of unix sockets that are still ours. */
void doors_close(struct doors *doors);

#endif
