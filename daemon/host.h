/* What the machine, the container and the process have. */
#ifndef BRD_HOST_H
#define BRD_HOST_H

#include <stdbool.h>
#include <stdint.h>

#define HOST_HUGE_PAGES_FILE "/sys/kernel/mm/transparent_hugepage/enabled"

/* CPUs this process may run on. */
uint32_t host_cpus(void);

/* Memory of the machine, or the smaller limit of the control group this process
 * is in (version 2 or 1), in bytes. */
uint64_t host_memory(void);

/* The smallest limit of a control group and those above it, or UINT64_MAX. root
 * is where cgroups are mounted ("/sys/fs/cgroup"), self the content of
 * /proc/self/cgroup. For host_memory and its test. */
uint64_t host_cgroup_limit(const char *root, const char *self);

/* Let the process have this many open files. Returns how many it may have. */
uint64_t host_raise_files(uint64_t wanted);

/* Bytes of this process in memory now, and at most so far; 0 where unknown. */
uint64_t host_rss(void);
uint64_t host_rss_max(void);

/* Does the system have transparent huge pages for programs that ask for them? */
bool host_has_huge_pages(void);

#endif
