/* The configuration: one table of options, from which the parsing of files, of
 * the environment and of flags, --help, --print-config and the documentation's
 * test derive; and the options structs of the modules, filled from it.
 *
 * A value comes from the table's default, the file, the environment (BRINDLE_
 * and the key in capitals), or a flag (-- and the key): the later wins. One
 * thread. */
#ifndef BRD_CONFIG_H
#define BRD_CONFIG_H

#include "base/buf.h"
#include "base/status.h"
#include "config_options.h"
#include "engine/engine.h"
#include "server/server.h"

enum config_id {
#define CONFIG_ENUM(ID, ...) CONFIG_##ID,
    CONFIG_OPTIONS(CONFIG_ENUM)
#undef CONFIG_ENUM
        CONFIG_ID_COUNT
};

enum config_action {
    CONFIG_RUN,
    CONFIG_CHECK,
    CONFIG_PRINT,
    CONFIG_HELP,
    CONFIG_VERSION,
};

struct config {
    uint64_t number[CONFIG_ID_COUNT]; /* of all types but TEXT and LIST */
    char *text[CONFIG_ID_COUNT];      /* owned: of TEXT and LIST; as written, of the others */
    char *where[CONFIG_ID_COUNT];     /* owned: who said so, for messages; NULL: the default */
    char *file;                       /* owned: --config, or NULL */
    enum config_action action;
    char *scratch[64]; /* owned: addresses of config_server_options */
    size_t scratch_count;
};

/* A sentence for the operator: what, where, and what is allowed. */
struct config_error {
    char text[1024];
};

/* Defaults, then file, environment and flags, then what depends on several.
 *
 * argv         without the program's name, NULL-terminated.
 * environment  "NAME=value", NULL-terminated.
 * out_config   filled on every result; config_fini afterwards.
 * Returns      BRD_OK, BRD_INVALID_ARGUMENT or BRD_OUT_OF_MEMORY with the error. */
BRD_MUST_CHECK enum brd_status
config_load(char *const *argv, char *const *environment, struct config *out_config,
            struct config_error *out_error);

/* The steps of config_load that read a file's text, for tests. init first. */
BRD_MUST_CHECK enum brd_status config_init(struct config *config, struct config_error *out_error);
BRD_MUST_CHECK enum brd_status
config_read_text(struct config *config, const char *name, struct brd_bytes text,
                 struct config_error *out_error);
BRD_MUST_CHECK enum brd_status
config_finish(struct config *config, char *const *environment, struct config_error *out_error);

void config_fini(struct config *config);

/* Take over from fresh what may change while running; fresh keeps the rest.
 * Calls changed for each option that differs, with whether it was taken over. */
void config_take_reloadable(struct config *config, struct config *fresh,
                            void (*changed)(void *arg, const char *key, const char *old_value,
                                            const char *new_value, bool taken),
                            void *arg);

/* Append the text to out: a file that gives the same configuration; the text of
 * --help. */
void config_print(const struct config *config, struct brd_buf *out);
void config_help(struct brd_buf *out);

/* Is it the default that nobody asked for? */
static inline bool
config_is_default(const struct config *config, enum config_id id)
{
    return config->where[id] == NULL;
}

/* The modules' options. What they point to is borrowed from config. clock,
 * engine and callbacks are the caller's to fill in. */
void config_engine_options(const struct config *config, struct brd_engine_options *out_options);
BRD_MUST_CHECK enum brd_status
config_server_options(struct config *config, struct brd_server_options *out_options);
void config_server_limits(const struct config *config, struct brd_server_limits *out_limits);

/* The path of the key file; NULL: none. Borrowed from config. */
const char *config_key_file(const struct config *config);

/* The memory limit in bytes, 0 for none, with auto worked out. */
uint64_t config_max_memory(const struct config *config);

/* The disk reserve, as brd_engine_set_disk_reserve takes it. */
uint64_t config_disk_reserve(const struct config *config);

/* The policy, with auto and Redis's names worked out. */
enum brd_eviction config_eviction(const struct config *config);

/* CONFIG_LOG_LEVEL as the level of base/diag.h. */
int config_log_level(const struct config *config);

#endif
