#include "host.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

uint32_t
host_cpus(void)
{
    cpu_set_t set;
    int count;

    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    count = CPU_COUNT(&set);
    return count > 0 ? (uint32_t)count : 1;
}

/* The number in a file of one, or UINT64_MAX ("max", or no such file). */
static uint64_t
read_limit(const char *path)
{
    FILE *file = fopen(path, "re");
    char text[64] = "";
    char *end = text;
    unsigned long long value = 0;

    if (file == NULL)
        return UINT64_MAX;
    if (fgets(text, sizeof(text), file) != NULL)
        value = strtoull(text, &end, 10);
    fclose(file);
    return end == text ? UINT64_MAX : value;
}

/* The smallest limit of dir (below root) and its parents up to root itself. */
static uint64_t
smallest_limit(const char *root, const char *dir, const char *file)
{
    uint64_t smallest = UINT64_MAX;
    char path[4096];
    char below[2048];

    snprintf(below, sizeof(below), "%s", dir);
    for (;;) {
        char *slash;
        uint64_t limit;

        snprintf(path, sizeof(path), "%s%s/%s", root, below, file);
        limit = read_limit(path);
        if (limit < smallest)
            smallest = limit;
        slash = strrchr(below, '/');
        if (slash == NULL)
            return smallest;
        *slash = '\0';
    }
}

/* Lines are "ID:CONTROLLERS:/PATH"; of version 2 "0::/PATH". */
uint64_t
host_cgroup_limit(const char *root, const char *self)
{
    uint64_t smallest = UINT64_MAX;
    char v1_root[2048];
    char line[2048];

    snprintf(v1_root, sizeof(v1_root), "%s/memory", root);
    while (*self != '\0') {
        size_t length = strcspn(self, "\n");
        char *controllers;
        char *path;
        uint64_t limit = UINT64_MAX;

        snprintf(line, sizeof(line), "%.*s", (int)(length < sizeof(line) ? length : 0), self);
        self += length + (self[length] == '\n');
        controllers = strchr(line, ':');
        path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (path == NULL || path[1] != '/')
            continue;
        *path++ = '\0';
        if (controllers[1] == '\0')
            limit = smallest_limit(root, path, "memory.max");
        else if (strcmp(controllers + 1, "memory") == 0)
            limit = smallest_limit(v1_root, path, "memory.limit_in_bytes");
        if (limit < smallest)
            smallest = limit;
    }
    return smallest;
}

uint64_t
host_memory(void)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    uint64_t memory = UINT64_MAX;
    char self[8192] = "";
    struct sysinfo info;

    if (sysinfo(&info) == 0)
        memory = (uint64_t)info.totalram * info.mem_unit;
    if (file != NULL) {
        uint64_t limit;

        self[fread(self, 1, sizeof(self) - 1, file)] = '\0';
        fclose(file);
        limit = host_cgroup_limit("/sys/fs/cgroup", self);
        if (limit < memory)
            memory = limit;
    }
    return memory;
}

uint64_t
host_raise_files(uint64_t wanted)
{
    struct rlimit limit;
    struct rlimit more;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    if (limit.rlim_cur >= wanted)
        return limit.rlim_cur;
    /* Only the privileged may go above the hard limit. */
    more = (struct rlimit){ .rlim_cur = wanted,
                            .rlim_max = limit.rlim_max > wanted ? limit.rlim_max : wanted };
    if (setrlimit(RLIMIT_NOFILE, &more) == 0)
        return wanted;
    more = (struct rlimit){ .rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max };
    return setrlimit(RLIMIT_NOFILE, &more) == 0 ? limit.rlim_max : limit.rlim_cur;
}

uint64_t
host_rss(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long long size;
    unsigned long long resident = 0;

    if (file == NULL)
        return 0;
    if (fscanf(file, "%llu %llu", &size, &resident) != 2)
        resident = 0;
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t
host_rss_max(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}

bool
host_has_huge_pages(void)
{
    FILE *file = fopen(HOST_HUGE_PAGES_FILE, "re");
    char text[64] = "";

    if (file == NULL)
        return false;
    if (fgets(text, sizeof(text), file) == NULL)
        text[0] = '\0';
    fclose(file);
    return text[0] != '\0' && strstr(text, "[never]") == NULL;
}
