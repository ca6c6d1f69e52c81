/* brindle-bench: a load tester for Brindle, and for RESP and memcached servers
 * beside it.
 *
 *   main       signals, usage
 *   options    the command line           report    the result as text or JSON
 *   run        phases and threads         server    what the server says of itself
 *   load       made-up requests           replay    requests of a trace
 *   memory     bytes for each key
 *   driver     one thread's event loop    trace     trace files
 *   codec_*    one protocol's bytes       histogram, zipf, sizes, keys, values
 *
 * Calls go down; a workload (load, replay) is called back by the driver. */
#include "options.h"
#include "run.h"

#include <signal.h>
#include <string.h>

/* A signal this long after the first ends the program at once. timeout(1) sends
 * its signal twice: to its child and to the group. */
#define INSIST_NS UINT64_C(500000000)

static atomic_bool interrupted;
static atomic_uint_fast64_t interrupted_ns; /* when; 0: not yet. The handler's own */

static void
on_signal(int number)
{
    uint64_t now_ns = bench_now_ns();
    uint64_t first_ns = atomic_load_explicit(&interrupted_ns, memory_order_relaxed);

    if (first_ns == 0) {
        atomic_store_explicit(&interrupted_ns, now_ns, memory_order_relaxed);
        atomic_store_explicit(&interrupted, true, memory_order_relaxed);
    } else if (now_ns > first_ns + INSIST_NS) {
        signal(number, SIG_DFL);
        raise(number);
    }
}

int
main(int argc, char **argv)
{
    struct options options;
    struct bench_error error;
    struct sigaction action = { .sa_handler = on_signal };

    if (!options_parse(&options, argc, argv, &error)) {
        fprintf(stderr, "brindle-bench: %s\nSee brindle-bench --help.\n", error.text);
        return BENCH_EXIT_USAGE;
    }
    if (options.help) {
        options_print_help(stdout);
        return BENCH_EXIT_OK;
    }
    if (options.version) {
        printf("brindle-bench " BRINDLE_VERSION "\n");
        return BENCH_EXIT_OK;
    }
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return (int)run(&options, &interrupted);
}
