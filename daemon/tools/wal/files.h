/* Directories and whole files, for commands that copy or change some. Results are 0 or
 * -errno. What is made is durable on return. */
#ifndef BRD_TOOLS_WAL_FILES_H
#define BRD_TOOLS_WAL_FILES_H

#include "base/file.h"

#include <sys/stat.h>

#define FILES_PATH_MAX 4096

/* "DIR/NAME". False: it is too long. */
bool files_join(char out[FILES_PATH_MAX], const char *dir, const char *name);

/* The directory that holds path. */
void files_parent(char out[FILES_PATH_MAX], const char *path);

/* "PATH.WORD-20260102T030405Z", or that with a number behind, so that there is none yet.
 * False: it is too long. */
bool files_stamp(char out[FILES_PATH_MAX], const char *path, const char *word);

/* A directory that holds nothing but a lock, or is not there, is free for data. */
int files_is_free(const char *dir, bool *out_free);

/* Bytes of a file. */
int files_size(const char *path, uint64_t *out_bytes);

/* Bytes that may be written to the file system of a directory. */
int files_room(const char *dir, uint64_t *out_bytes);

/* Are they on one file system? False where that is not known. */
bool files_same_disk(const char *a, const char *b);

/* Copy a file's content. out is new, and gone again after an error. Its name is not
 * made durable: brd_file_sync_dir does that. */
int files_copy(const struct brd_io *in, const char *path, const char *out);

/* Another name for a file, on another file system a copy. Names are not made durable. */
int files_move(const char *path, const char *out);

/* Let two directories change places, in one step where the file system can do that. */
int files_exchange(const char *a, const char *b);

/* Remove a data directory, or what was made of one; with `itself`, the directory too. What
 * cannot be removed stays. */
void files_remove_data(const char *dir, bool itself);

/* Remove a directory that holds nothing but a lock. */
void files_remove_free(const char *dir);

/* As root: give a data directory and what is in it to an owner. */
void files_give(const char *dir, const struct stat *owner);

/* Take the lock of a data directory, until *out_fd is closed. make: the file too, where it
 * is missing; otherwise *out_fd may be -1. -EWOULDBLOCK: somebody has it; out_holder is
 * the process, as far as the file tells. */
int files_lock(const char *dir, bool make, int *out_fd, char out_holder[32]);

/* Where new data goes: a directory that is missing, or holds none. */
struct files_place {
    const char *dir; /* borrowed */
    bool made;       /* it was missing */
    int lock_fd;
    char holder[32];
};

/* Make it, and take its lock. -EEXIST: it holds something; -EWOULDBLOCK: a daemon, holder,
 * has it. */
int files_place_take(struct files_place *place, const char *dir);

/* Give the lock back; without keep what is there goes first. */
void files_place_leave(struct files_place *place, bool keep);

#endif
