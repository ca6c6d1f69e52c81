/* brindled: builds every object in order, runs, tears down in reverse.
 *
 *      configuration -> clock -> engine -> server (sockets bound)
 *                    -> recovery -> threads, sockets listen -> ready
 *      ... signals, watchdog ...
 *      drain -> sync -> exit
 *
 * Signals are blocked in all threads and read from a descriptor here: SIGTERM
 * and SIGINT stop (a second one gives up what the engine keeps warm), SIGHUP reads the
 * configuration again, and the key file (all of it is taken over, or, where anything in it is
 * wrong, nothing).
 *
 * The watchdog of systemd is only fed while every worker, the acceptor and the
 * engine's background threads show signs of life. */
#include "base/allocator.h"
#include "base/check.h"
#include "base/diag.h"
#include "config.h"
#include "host.h"
#include "key_file.h"
#include "process_stats.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

extern char **environ;

enum exit_code {
    EXIT_ORDERLY = 0,
    EXIT_RUNTIME = 1,
    EXIT_USAGE = 2,
    EXIT_DAMAGED = 3,
    EXIT_WRONG_KEY = 4,
};

#define FILES_BESIDE_CONNECTIONS 512
#define HEARTBEAT_LATE_NS        (3 * BRD_NS_PER_S)

#ifdef BRINDLE_JEMALLOC
/* jemalloc reads this before main. Measured in docs/store.md, "The allocator".
 *
 * background_thread, dirty_decay_ms, muzzy_decay_ms
 *                     free pages go back to the system within a second, by a
 *                     thread of jemalloc's and never by a worker; without it, what
 *                     a mass delete frees stays for as long as nobody allocates
 * oversize_threshold  large values are no exception: by default freeing one of
 *                     8 MiB gives its pages back at once, in whoever frees it
 * slab_sizes          runs of 16 KiB for the classes that fit whole pages, as the
 *                     other classes have already, and of 40 KiB for entries of 160:
 *                     the books of a run take 128 bytes, and those of a page of
 *                     entries of 128 did: 4 bytes for each
 * thp                 asks for huge pages everywhere; whether the system may follow
 *                     is another question, which huge-pages answers (allow_huge_pages)
 *
 * Only what every build of jemalloc knows: it complains of the rest on stderr. So not
 * cache_oblivious:false, which spares a page beside each large value; Debian's build is
 * without that page anyhow, and does not know the option. */
extern const char *malloc_conf;
const char *malloc_conf = "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,"
                          "oversize_threshold:0,thp:always,slab_sizes:64-64:4|128-128:4|"
                          "160-160:10|256-256:4|512-512:4|1024-1024:4|2048-2048:4";

/* jemalloc's first pages are filled by the constructors of libraries, long before the
 * configuration is known, and would be huge ones (6 MB). This runs before all of them;
 * main allows again what is wanted. */
static void
forbid_huge_pages(void)
{
    brd_allocator_allow_huge_pages(false);
}

static void (*before_constructors)(void)
    __attribute__((section(".preinit_array"), used)) = forbid_huge_pages;
#endif

struct watchdog {
    uint64_t interval_ns; /* between two looks; 0: there is no watchdog */
    uint64_t next_ns;
    uint64_t heartbeat;
    uint64_t heartbeat_ns; /* when it last moved */
};

struct daemon {
    char *const *argv; /* without the program's name */
    struct config config;
    struct key_rings keys;
    struct brd_clock *clock;
    struct brd_engine *engine;
    struct brd_server *server;
    struct process_stats process_stats;
    struct watchdog watchdog;
    int signal_fd;
};

/* ---- what only prints ---- */

static enum exit_code
print(const struct brd_buf *text)
{
    bool good = !text->failed && fwrite(text->data, 1, text->size, stdout) == text->size;

    return fflush(stdout) == 0 && good ? EXIT_ORDERLY : EXIT_RUNTIME;
}

static enum exit_code
print_action(const struct config *config)
{
    enum exit_code code;
    struct brd_buf text;
    char version[256];

    brd_buf_init(&text);
    switch (config->action) {
    case CONFIG_CHECK:
        brd_buf_append(&text, "the configuration is valid\n", 27);
        break;
    case CONFIG_PRINT:
        config_print(config, &text);
        break;
    case CONFIG_HELP:
        config_help(&text);
        break;
    case CONFIG_VERSION:
        snprintf(version, sizeof(version),
                 "brindled " BRINDLE_VERSION "\ncompiler: %s\nallocator: %s\n", process_compiler(),
                 brd_allocator_name());
        brd_buf_append(&text, version, strlen(version));
        break;
    case CONFIG_RUN:
        break;
    }
    code = print(&text);
    brd_buf_fini(&text);
    return code;
}

/* ---- start ---- */

static void
on_progress(void *arg)
{
    struct daemon *daemon = arg;

    brd_server_on_progress(daemon->server);
}

static void
on_written(void *arg)
{
    struct daemon *daemon = arg;

    brd_server_on_written(daemon->server);
}

static void
on_held(void *arg)
{
    struct daemon *daemon = arg;

    brd_server_on_held(daemon->server);
}

/* The signals are blocked: one that has come waits to be read. */
static bool
stop_wanted(void *arg)
{
    sigset_t pending;

    (void)arg;
    return sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

/* The service manager kills who stops for longer than it was told. */
static void
on_stopping(void *arg)
{
    (void)arg;
    sd_notify(0, "EXTEND_TIMEOUT_USEC=30000000\nSTATUS=Writing what stays warm");
}

static enum exit_code
exit_code_of(enum brd_status status)
{
    switch (status) {
    case BRD_OK:
    case BRD_SHUTTING_DOWN: /* told to stop before it served anybody */
        return EXIT_ORDERLY;
    case BRD_INVALID_ARGUMENT:
        return EXIT_USAGE;
    case BRD_CORRUPT:
        return EXIT_DAMAGED;
    case BRD_WRONG_KEY:
        return EXIT_WRONG_KEY;
    default:
        return EXIT_RUNTIME;
    }
}

static void
raise_files(const struct config *config)
{
    uint64_t wanted = config->number[CONFIG_MAX_CONNECTIONS] + FILES_BESIDE_CONNECTIONS;
    uint64_t have = host_raise_files(wanted);

    if (have < wanted)
        brd_diag_warning("only %llu files may be open, which is not enough for %llu connections; "
                         "raise the limit (LimitNOFILE) or lower max-connections",
                         (unsigned long long)have,
                         (unsigned long long)config->number[CONFIG_MAX_CONNECTIONS]);
}

static void
warn_not_built(const struct config *config, enum config_id id, const char *what)
{
    const char *text = config->text[id];

    if (!config_is_default(config, id) && strcmp(text, "none") != 0)
        brd_diag_warning("%s: not listening on %s: this version does not offer %s yet",
                         config->where[id], text, what);
}

static enum brd_status
create_engine(struct daemon *daemon)
{
    struct brd_engine_options options;

    config_engine_options(&daemon->config, &options);
    options.keys = key_file_ring(&daemon->keys);
    options.clock = daemon->clock;
    options.on_progress = on_progress;
    options.on_written = on_written;
    options.on_held = on_held;
    options.stop_wanted = stop_wanted;
    options.on_stopping = on_stopping;
    options.arg = daemon;
#ifndef BRD_DEBUG
    options.leave_entries = true; /* freeing 50 million takes five seconds, for nothing */
#endif
    return brd_engine_create(&options, &daemon->engine);
}

static enum brd_status
create_server(struct daemon *daemon)
{
    struct brd_server_options options;
    struct brd_server_error error = { .text = "" };
    enum brd_status status = config_server_options(&daemon->config, &options);

    if (status != BRD_OK)
        return status;
    options.clock = daemon->clock;
    options.session.engine = daemon->engine;
    status = brd_server_create(&options, &daemon->server, &error);
    if (status != BRD_OK)
        brd_diag_error("%s", error.text);
    return status;
}

static enum brd_status
add_stats(struct daemon *daemon)
{
    struct brd_stats_source process = { .collect = process_stats_collect,
                                        .arg = &daemon->process_stats };
    struct brd_stats_source server = { .collect = brd_server_collect_stats,
                                       .reset = brd_server_reset_stats,
                                       .arg = daemon->server };
    enum brd_status status;

    daemon->process_stats.clock = daemon->clock;
    daemon->process_stats.started_mono_ns = brd_clock_mono_ns(daemon->clock);
    status = brd_engine_add_stats(daemon->engine, &process);
    return status == BRD_OK ? brd_engine_add_stats(daemon->engine, &server) : status;
}

static enum brd_status
start(struct daemon *daemon)
{
    struct brd_engine_error engine_error = { .text = "" };
    struct brd_server_error server_error = { .text = "" };
    enum brd_status status;

    daemon->clock = brd_clock_create_real(daemon->config.number[CONFIG_MAX_CLOCK_STEP]);
    if (daemon->clock == NULL)
        return BRD_OUT_OF_MEMORY;
    status = create_engine(daemon);
    if (status == BRD_OK)
        status = create_server(daemon);
    if (status == BRD_OK)
        status = add_stats(daemon);
    if (status != BRD_OK)
        return status;
    sd_notify(0, "STATUS=Recovering");
    status = brd_engine_start(daemon->engine, &engine_error);
    if (status == BRD_SHUTTING_DOWN) {
        sd_notify(0, "STOPPING=1");
        brd_diag_notice("stopped: %s; nothing that is kept was changed", engine_error.text);
        return status;
    }
    if (status != BRD_OK) {
        brd_diag_error("%s", engine_error.text[0] != '\0' ? engine_error.text
                                                          : brd_status_sentence(status));
        return status;
    }
    status = brd_server_start(daemon->server, &server_error);
    if (status != BRD_OK)
        brd_diag_error("%s", server_error.text);
    return status;
}

static void
say_ready(struct daemon *daemon)
{
    const char *addresses = brd_server_addresses(daemon->server);

    if (strcmp(addresses, "none") == 0)
        brd_diag_warning("listening nowhere: listen is none, and no socket was inherited");
    brd_diag_plain("ready: listen=%s resp=none http=none pid=%d", addresses, (int)getpid());
    sd_notifyf(0, "READY=1\nSTATUS=Serving on %s\nMAINPID=%d", addresses, (int)getpid());
}

/* ---- while it runs ---- */

static void
start_watchdog(struct daemon *daemon)
{
    struct watchdog *watchdog = &daemon->watchdog;
    uint64_t limit_us = 0;

    if (sd_watchdog_enabled(0, &limit_us) <= 0)
        return;
    watchdog->interval_ns = limit_us * BRD_NS_PER_US / 4;
    watchdog->next_ns = brd_clock_mono_ns(daemon->clock) + watchdog->interval_ns;
    watchdog->heartbeat = brd_engine_heartbeat(daemon->engine);
    watchdog->heartbeat_ns = brd_clock_mono_ns(daemon->clock);
    brd_server_ping(daemon->server);
}

/* Was the last ping answered by all, and does the engine's heart beat? */
static void
feed_watchdog(struct daemon *daemon)
{
    struct watchdog *watchdog = &daemon->watchdog;
    uint64_t now_ns = brd_clock_mono_ns(daemon->clock);
    uint64_t heartbeat = brd_engine_heartbeat(daemon->engine);

    if (heartbeat != watchdog->heartbeat)
        watchdog->heartbeat_ns = now_ns;
    watchdog->heartbeat = heartbeat;
    if (!brd_server_answered(daemon->server))
        brd_diag_warning("a worker has not answered for %llu ms",
                         (unsigned long long)(watchdog->interval_ns / BRD_NS_PER_MS));
    else if (now_ns - watchdog->heartbeat_ns > HEARTBEAT_LATE_NS)
        brd_diag_warning("the engine's background thread shows no sign of life");
    else
        sd_notify(0, "WATCHDOG=1");
    /* A worker that has not answered keeps its old question. */
    if (brd_server_answered(daemon->server))
        brd_server_ping(daemon->server);
    watchdog->next_ns = now_ns + watchdog->interval_ns;
}

static void
say_changed(void *arg, const char *key, const char *old_value, const char *new_value, bool taken)
{
    (void)arg;
    if (taken)
        brd_diag_notice("reload: %s is now %s (was %s)", key, new_value, old_value);
    else
        brd_diag_warning("reload: %s stays %s until a restart (the configuration says %s)", key,
                         old_value, new_value);
}

/* The keys first: they are what may still be refused. */
static enum brd_status
reload_all(struct daemon *daemon, struct config *fresh, struct config_error *error)
{
    enum brd_status status = config_load(daemon->argv, environ, fresh, error);

    return status == BRD_OK ? key_file_reload(&daemon->keys, fresh, daemon->engine, error) : status;
}

static void
reload(struct daemon *daemon)
{
    struct config_error error;
    struct config fresh;

    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
               (unsigned long long)(brd_clock_mono_ns(daemon->clock) / BRD_NS_PER_US));
    if (reload_all(daemon, &fresh, &error) == BRD_OK) {
        struct brd_server_limits limits;

        config_take_reloadable(&daemon->config, &fresh, say_changed, NULL);
        brd_diag_set_level((enum brd_diag_level)config_log_level(&daemon->config));
        brd_engine_set_max_memory(daemon->engine, config_max_memory(&daemon->config));
        brd_engine_set_eviction(daemon->engine, config_eviction(&daemon->config));
        brd_engine_set_disk_reserve(daemon->engine, config_disk_reserve(&daemon->config));
        config_server_limits(&daemon->config, &limits);
        brd_engine_set_held_max(daemon->engine, limits.buffer_bytes);
        raise_files(&daemon->config);
        brd_server_set_limits(daemon->server, &limits);
        brd_diag_notice("reload: done");
    } else {
        brd_diag_error("reload: nothing was changed: %s", error.text);
    }
    config_fini(&fresh);
    sd_notify(0, "READY=1");
}

/* Until a signal says stop. */
static void
run(struct daemon *daemon)
{
    for (;;) {
        struct pollfd wait = { .fd = daemon->signal_fd, .events = POLLIN };
        struct signalfd_siginfo signal;
        int timeout_ms = -1;

        if (daemon->watchdog.interval_ns != 0) {
            uint64_t now_ns = brd_clock_mono_ns(daemon->clock);

            if (now_ns >= daemon->watchdog.next_ns)
                feed_watchdog(daemon);
            timeout_ms = (int)((daemon->watchdog.next_ns - now_ns) / BRD_NS_PER_MS) + 1;
        }
        if (poll(&wait, 1, timeout_ms) <= 0 ||
            read(daemon->signal_fd, &signal, sizeof(signal)) != (ssize_t)sizeof(signal))
            continue;
        if (signal.ssi_signo == SIGHUP) {
            reload(daemon);
            continue;
        }
        brd_diag_notice("stopping: %s", strsignal((int)signal.ssi_signo));
        return;
    }
}

/* ---- stop ---- */

static enum brd_status
stop(struct daemon *daemon)
{
    enum brd_status status;

    sd_notify(0, "STOPPING=1\nSTATUS=Stopping");
    brd_server_stop(daemon->server, daemon->config.number[CONFIG_SHUTDOWN_TIMEOUT]);
    status = brd_engine_stop(daemon->engine);
    if (status != BRD_OK)
        brd_diag_error("the log could not be written to its end: %s", brd_status_sentence(status));
    else
        brd_diag_notice("stopped");
    return status;
}

/* Threads of the engine tell the server of progress: they end first. */
static void
destroy(struct daemon *daemon)
{
    if (daemon->engine != NULL) {
        enum brd_status ignored =
            brd_engine_stop(daemon->engine); /* the log has said what failed */

        (void)ignored;
    }
    brd_server_destroy(&daemon->server);
    brd_engine_destroy(&daemon->engine);
    key_file_close(&daemon->keys);
    brd_clock_destroy(&daemon->clock);
    if (daemon->signal_fd >= 0)
        close(daemon->signal_fd);
    config_fini(&daemon->config);
}

/* Before anything is opened. A standard stream that is closed becomes /dev/null, so
 * that no line of the log ends in a socket or a file that took its number. And a
 * descriptor that LISTEN_FDS announces must be there, or it would be one of ours. */
static bool
check_descriptors(void)
{
    int inherited;
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
    inherited = sd_listen_fds(0);
    if (inherited < 0)
        brd_diag_error("inherited sockets: %s", strerror(-inherited));
    return inherited >= 0;
}

static int
take_signals(void)
{
    struct sigaction ignore = { .sa_handler = SIG_IGN };
    sigset_t set;

    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL); /* a file above the limit is an error, not the end */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

/* Before memory is filled. Where no huge pages are wanted there are none, also where
 * the system would give them to everybody. */
static void
allow_huge_pages(const struct config *config)
{
    bool wanted = config->number[CONFIG_HUGE_PAGES] != 0;

    brd_allocator_allow_huge_pages(wanted);
    if (wanted && !host_has_huge_pages())
        brd_diag_warning("%s: huge-pages is yes, but the system gives none (%s)",
                         config->where[CONFIG_HUGE_PAGES], HOST_HUGE_PAGES_FILE);
}

int
main(int argc, char **argv)
{
    struct daemon daemon = { .argv = argc > 0 ? argv + 1 : argv, .signal_fd = -1 };
    struct config_error error;
    enum brd_status status = config_load(daemon.argv, environ, &daemon.config, &error);
    enum exit_code code;

    if (status == BRD_OK &&
        (daemon.config.action == CONFIG_RUN || daemon.config.action == CONFIG_CHECK))
        status = key_file_load(&daemon.keys, &daemon.config, &error);
    if (status != BRD_OK) {
        brd_diag_error("%s", error.text);
        destroy(&daemon);
        return (int)exit_code_of(status);
    }
    if (daemon.config.action != CONFIG_RUN) {
        code = print_action(&daemon.config);
        destroy(&daemon);
        return (int)code;
    }
    brd_diag_set_level((enum brd_diag_level)config_log_level(&daemon.config));
    if (!check_descriptors()) {
        destroy(&daemon);
        return EXIT_RUNTIME;
    }
    daemon.signal_fd = take_signals();
    BRD_CHECK(daemon.signal_fd >= 0);
    raise_files(&daemon.config);
    allow_huge_pages(&daemon.config);
    warn_not_built(&daemon.config, CONFIG_RESP_LISTEN, "the Redis protocol");
    warn_not_built(&daemon.config, CONFIG_HTTP_LISTEN, "HTTP");

    status = start(&daemon);
    if (status == BRD_OK) {
        say_ready(&daemon);
        start_watchdog(&daemon);
        run(&daemon);
        status = stop(&daemon);
    } else if (status == BRD_OUT_OF_MEMORY) {
        brd_diag_error("not enough memory to start");
    }
    code = exit_code_of(status);
    destroy(&daemon);
    return (int)code;
}
