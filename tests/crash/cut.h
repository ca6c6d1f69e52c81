/* A power cut without a machine: ext4 stops as if the power had gone, what it had
 * not synced is lost, and every later call fails. */
#ifndef TESTS_CRASH_CUT_H
#define TESTS_CRASH_CUT_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CUT_SHUTDOWN    _IOR('X', 125, uint32_t) /* EXT4_IOC_SHUTDOWN */
#define CUT_NO_LOGFLUSH UINT32_C(2)              /* do not even write the journal */

/* Shut down the file system that holds dir. False: it cannot be. */
static inline bool
cut_power(const char *dir)
{
    uint32_t how = CUT_NO_LOGFLUSH;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done = fd >= 0 && ioctl(fd, CUT_SHUTDOWN, &how) == 0;

    if (fd >= 0)
        close(fd);
    return done;
}

#endif
