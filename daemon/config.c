/* Files, environment and flags, all through set_option.
 *
 * Strict: what is not understood is an error that says what, where and what
 * would be right. Every value is checked where it stands, even if a later one
 * wins. Lists add up within one source and replace those of an earlier one.
 *
 * INI by libinih, which hides line numbers from its caller: the text is handed
 * to it line by line, and counted on the way. */
#include "config.h"

#include "base/check.h"
#include "base/diag.h"
#include "config_value.h"
#include "host.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX  (1 << 20)
#define MEMORY_PERCENT  60
#define FRAME_OVERHEAD  CONFIG_MB
#define BUFFERS_LEAST   (256 * CONFIG_MB)
#define NAMESPACE_WORD  "namespace "
#define CREDENTIAL      "brindle.key"
#define VALUE_SHOWN_MAX 100 /* of a wrong value, in a message */

#define BALANCE_INTERVAL_NS   (250 * BRD_NS_PER_MS)
#define BALANCE_BUSY_PERMILLE 700
#define BALANCE_GAP_PERMILLE  400

static const struct config_option options[] = {
#define CONFIG_ROW(ID, section, key, type, initial, word, number, least, most, reload, choices, \
                   help)                                                                        \
    { section, key, CONFIG_##type, initial, word, number, least, most, reload, choices, help },
    CONFIG_OPTIONS(CONFIG_ROW)
#undef CONFIG_ROW
};

static enum brd_status __attribute__((format(printf, 2, 3)))
fail(struct config_error *error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    return BRD_INVALID_ARGUMENT;
}

static enum brd_status
no_memory(struct config_error *error)
{
    fail(error, "not enough memory for the configuration");
    return BRD_OUT_OF_MEMORY;
}

static bool
is_text(const struct config_option *option)
{
    return option->type == CONFIG_TEXT || option->type == CONFIG_LIST;
}

/* ---- one option ---- */

static int
find_option(const char *key, size_t length)
{
    int i;

    for (i = 0; i < CONFIG_ID_COUNT; i++)
        if (strncmp(options[i].key, key, length) == 0 && options[i].key[length] == '\0')
            return i;
    return -1;
}

/* The key that a mistyped one was probably meant to be, or NULL: one from which
 * it differs in one place, by a character or, in long ones, two. */
static const char *
similar_key(const char *key)
{
    size_t i;

    if (strcmp(key, "port") == 0 || strcmp(key, "bind") == 0)
        return options[CONFIG_LISTEN].key; /* what others call it */
    if (strcmp(key, "maxmemory") == 0)
        return options[CONFIG_MAX_MEMORY].key;
    for (i = 0; i < CONFIG_ID_COUNT; i++) {
        const char *other = options[i].key;
        size_t common = 0;
        size_t tail = 0;
        size_t a = strlen(key);
        size_t b = strlen(other);

        while (common < a && common < b &&
               (key[common] == other[common] || (key[common] == '_' && other[common] == '-')))
            common++;
        while (tail < a - common && tail < b - common && key[a - 1 - tail] == other[b - 1 - tail])
            tail++;
        tail += a >= 6 ? 2 : 1;
        if (a >= 4 && common + tail >= a && common + tail >= b)
            return other;
    }
    return NULL;
}

static bool
replace(char **place, const char *text)
{
    char *copy = text == NULL ? NULL : strdup(text);

    if (text != NULL && copy == NULL)
        return false;
    free(*place);
    *place = copy;
    return true;
}

/* Blanks around commas do not matter; within an address (a path) they do. */
static bool
append_list(char **place, const char *text)
{
    size_t old = *place == NULL ? 0 : strlen(*place);
    char *joined = malloc(old + strlen(text) + 2);
    char *to;

    if (joined == NULL)
        return false;
    if (old > 0)
        memcpy(joined, *place, old);
    to = joined + old;
    if (old > 0)
        *to++ = ',';
    while (*text != '\0') {
        const char *comma = text + strcspn(text, ",");
        const char *end = comma;

        while (text < end && isspace((unsigned char)*text))
            text++;
        while (text < end && isspace((unsigned char)end[-1]))
            end--;
        memcpy(to, text, (size_t)(end - text));
        to += end - text;
        if (*comma == ',')
            *to++ = ',';
        text = comma + (*comma == ',');
    }
    *to = '\0';
    free(*place);
    *place = joined;
    return true;
}

/* Give an option its value. where: who says so ("FILE:LINE: ", say, or "--key: ");
 * source: what several parts of a list have in common. */
static enum brd_status
set_option(struct config *config, int id, const char *text, const char *where, bool add,
           struct config_error *error)
{
    const struct config_option *option = &options[id];
    char allowed[512];

    if (*text == '\0')
        return fail(error, "%s: %s has no value", where, option->key);
    if (option->type == CONFIG_LIST) {
        if ((!add && !replace(&config->text[id], NULL)) || !append_list(&config->text[id], text))
            return no_memory(error);
        return replace(&config->where[id], where) ? BRD_OK : no_memory(error);
    }
    if (!is_text(option) && !config_value_parse(option, text, &config->number[id])) {
        config_value_allowed(option, allowed, sizeof(allowed));
        return fail(error, "%s: %s must be %s, not \"%.*s\"", where, option->key, allowed,
                    VALUE_SHOWN_MAX, text);
    }
    if (!replace(&config->text[id], text) || !replace(&config->where[id], where))
        return no_memory(error);
    return BRD_OK;
}

enum brd_status
config_init(struct config *config, struct config_error *out_error)
{
    int i;

    *config = (struct config){ .action = CONFIG_RUN };
    for (i = 0; i < CONFIG_ID_COUNT; i++) {
        enum brd_status status = BRD_OK;

        if (options[i].initial != NULL)
            status = set_option(config, i, options[i].initial, "default", false, out_error);
        if (status != BRD_OK || !replace(&config->where[i], NULL))
            return status;
    }
    return BRD_OK;
}

static void
free_scratch(struct config *config)
{
    while (config->scratch_count > 0)
        free(config->scratch[--config->scratch_count]);
}

void
config_fini(struct config *config)
{
    int i;

    for (i = 0; i < CONFIG_ID_COUNT; i++) {
        free(config->text[i]);
        free(config->where[i]);
    }
    free(config->file);
    free_scratch(config);
    *config = (struct config){ 0 };
}

/* ---- files ---- */

struct reader {
    struct config *config;
    struct config_error *error;
    enum brd_status status;
    const char *name;
    struct brd_bytes rest;
    unsigned line;
    unsigned seen[CONFIG_ID_COUNT]; /* the line that set an option */
};

static char *
read_line(char *out, int room, void *arg)
{
    struct reader *reader = arg;
    const uint8_t *end;
    size_t size;

    if (reader->rest.size == 0 || reader->status != BRD_OK)
        return NULL;
    reader->line++;
    end = memchr(reader->rest.data, '\n', reader->rest.size);
    size = end != NULL ? (size_t)(end - reader->rest.data) + 1 : reader->rest.size;
    if (size >= (size_t)room) {
        reader->status = fail(reader->error, "%s:%u: the line is longer than %d bytes",
                              reader->name, reader->line, room - 2);
        return NULL;
    }
    if (memchr(reader->rest.data, '\0', size) != NULL) {
        reader->status = fail(reader->error, "%s:%u: the line has a zero byte; this is no text",
                              reader->name, reader->line);
        return NULL;
    }
    memcpy(out, reader->rest.data, size);
    out[size] = '\0';
    reader->rest.data += size;
    reader->rest.size -= size;
    return out;
}

static bool
is_section(const char *section)
{
    int i;

    for (i = 0; i < CONFIG_ID_COUNT; i++)
        if (strcmp(options[i].section, section) == 0)
            return true;
    return false;
}

/* "[server], [limits], ..." */
static void
list_sections(char *out, size_t room)
{
    size_t used = 0;
    int i;

    for (i = 0; i < CONFIG_ID_COUNT && used < room; i++)
        if (i == 0 || strcmp(options[i].section, options[i - 1].section) != 0)
            used += (size_t)snprintf(out + used, room - used, "%s[%s]", i == 0 ? "" : ", ",
                                     options[i].section);
}

static enum brd_status
check_section(const struct reader *reader, const char *section)
{
    char sections[512];

    if (is_section(section))
        return BRD_OK;
    if (*section == '\0')
        return fail(reader->error, "%s:%u: there is no section above this line", reader->name,
                    reader->line);
    if (strncmp(section, NAMESPACE_WORD, strlen(NAMESPACE_WORD)) == 0)
        return fail(reader->error,
                    "%s:%u: [%s]: this version has the namespace default and no others yet",
                    reader->name, reader->line, section);
    list_sections(sections, sizeof(sections));
    return fail(reader->error, "%s:%u: there is no section [%s]; sections are %s", reader->name,
                reader->line, section, sections);
}

static int
on_pair(void *arg, const char *section, const char *key, const char *value)
{
    struct reader *reader = arg;
    int id = find_option(key, strlen(key));
    char where[512];

    if (reader->status != BRD_OK)
        return 1;
    snprintf(where, sizeof(where), "%s:%u", reader->name, reader->line);
    reader->status = check_section(reader, section);
    if (reader->status != BRD_OK)
        return 1;
    if (id < 0) {
        const char *similar = similar_key(key);

        reader->status = fail(reader->error, "%s: there is no option %s in [%s]%s%s%s", where, key,
                              section, similar != NULL ? "; did you mean " : "",
                              similar != NULL ? similar : "", similar != NULL ? "?" : "");
        return 1;
    }
    if (strcmp(options[id].section, section) != 0) {
        reader->status = fail(reader->error, "%s: %s belongs in section [%s], not in [%s]", where,
                              key, options[id].section, section);
        return 1;
    }
    if (reader->seen[id] != 0 && options[id].type != CONFIG_LIST) {
        reader->status = fail(reader->error, "%s: %s is set a second time; the first is in line %u",
                              where, key, reader->seen[id]);
        return 1;
    }
    reader->status =
        set_option(reader->config, id, value, where, reader->seen[id] != 0, reader->error);
    reader->seen[id] = reader->line;
    return 1;
}

enum brd_status
config_read_text(struct config *config, const char *name, struct brd_bytes text,
                 struct config_error *out_error)
{
    struct reader reader = { .config = config, .error = out_error, .name = name, .rest = text };
    int bad_line = ini_parse_stream(read_line, &reader, on_pair, &reader);

    if (bad_line < 0)
        return no_memory(out_error);
    /* A line that it could not read may stand before the one that we refused. */
    if (reader.status != BRD_OK && (bad_line == 0 || (unsigned)bad_line >= reader.line))
        return reader.status;
    if (bad_line > 0)
        return fail(out_error, "%s:%d: this is neither [SECTION], KEY = VALUE nor a # comment",
                    name, bad_line);
    return BRD_OK;
}

static enum brd_status
read_file(struct config *config, struct config_error *error)
{
    bool may_be_absent = config->file[0] == '-';
    const char *path = config->file + may_be_absent;
    enum brd_status status;
    FILE *file = path[0] == '\0' ? NULL : fopen(path, "re");
    struct stat st;
    char *text;
    size_t size;

    if (path[0] == '\0')
        return fail(error, "--config -: - stands before the name of a file that may be absent; "
                           "for standard input say /dev/stdin");
    if (file == NULL && errno == ENOENT && may_be_absent)
        return BRD_OK;
    if (file == NULL)
        return fail(error, "%s: cannot be read: %s", path, strerror(errno));
    if (fstat(fileno(file), &st) == 0 && S_ISDIR(st.st_mode)) {
        fclose(file);
        return fail(error, "%s: this is a directory, not a file", path);
    }
    text = malloc(FILE_BYTES_MAX + 1);
    if (text == NULL) {
        fclose(file);
        return no_memory(error);
    }
    size = fread(text, 1, FILE_BYTES_MAX + 1, file);
    if (ferror(file))
        status = fail(error, "%s: cannot be read: %s", path, strerror(errno));
    else if (size > FILE_BYTES_MAX)
        status = fail(error, "%s: the file is larger than 1 MiB", path);
    else
        status = config_read_text(config, path, brd_bytes(text, size), error);
    fclose(file);
    free(text);
    return status;
}

/* ---- environment ---- */

/* The name of the variable: BRINDLE_MAX_MEMORY for max-memory. */
static void
variable_name(const char *key, char *out, size_t room)
{
    size_t used = (size_t)snprintf(out, room, "BRINDLE_");

    for (; *key != '\0' && used + 1 < room; key++)
        out[used++] = *key == '-' ? '_' : (char)toupper((unsigned char)*key);
    out[used] = '\0';
}

static const char *
get_variable(char *const *environment, const char *name)
{
    size_t length = strlen(name);

    for (; environment != NULL && *environment != NULL; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

static enum brd_status
read_environment(struct config *config, char *const *environment, struct config_error *error)
{
    enum brd_status status = BRD_OK;
    char name[64];
    int i;

    for (i = 0; i < CONFIG_ID_COUNT && status == BRD_OK; i++) {
        const char *value;

        variable_name(options[i].key, name, sizeof(name));
        value = get_variable(environment, name);
        if (value != NULL)
            status = set_option(config, i, value, name, false, error);
    }
    return status;
}

/* ---- flags ---- */

/* Flags that are no options. */
static const struct {
    const char *name;
    enum config_action action;
} actions[] = {
    { "--check-config", CONFIG_CHECK }, { "--print-config", CONFIG_PRINT },
    { "--help", CONFIG_HELP },          { "-h", CONFIG_HELP },
    { "--version", CONFIG_VERSION },
};

static bool
take_action(struct config *config, const char *flag)
{
    size_t i;

    for (i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        if (strcmp(flag, actions[i].name) != 0)
            continue;
        /* Help and version win over what would do more. */
        if (actions[i].action > config->action)
            config->action = actions[i].action;
        return true;
    }
    return false;
}

/* The value of argv[*i], whose name ends at name_end: behind a "=", or the next
 * argument. NULL where there is none. */
static const char *
flag_value(char *const *argv, size_t *i, const char *name_end)
{
    if (*name_end == '=')
        return name_end + 1;
    if (argv[*i + 1] == NULL)
        return NULL;
    ++*i;
    return argv[*i];
}

static bool
is_bool_word(const char *text)
{
    static const struct config_option any = { .type = CONFIG_BOOL, .most = 1 };
    uint64_t ignored;

    return text != NULL && config_value_parse(&any, text, &ignored);
}

/* Only looks for the file and for what to do: the rest waits for the file. */
static enum brd_status
read_flags(struct config *config, char *const *argv, bool only_file, struct config_error *error)
{
    bool seen[CONFIG_ID_COUNT] = { false };
    enum brd_status status = BRD_OK;
    size_t i;

    for (i = 0; argv[i] != NULL && status == BRD_OK; i++) {
        const char *flag = argv[i];
        const char *end = flag + strcspn(flag, "=");
        const char *value;
        char where[128];
        int id;

        if (take_action(config, flag))
            continue;
        if (strncmp(flag, "--config", (size_t)(end - flag)) == 0 && end - flag == 8) {
            value = flag_value(argv, &i, end);
        } else if (strcmp(flag, "-c") == 0) {
            value = flag_value(argv, &i, end);
        } else {
            if (flag[0] == '-' && flag[1] != '-')
                return fail(error, "there is no flag %.*s (see --help)", VALUE_SHOWN_MAX, flag);
            if (strncmp(flag, "--", 2) != 0)
                return fail(error, "\"%.*s\": brindled takes no arguments but flags (see --help)",
                            VALUE_SHOWN_MAX, flag);
            id = find_option(flag + 2, (size_t)(end - flag - 2));
            if (id < 0) {
                char name[64];
                const char *similar;

                snprintf(name, sizeof(name), "%.*s", (int)(end - flag - 2), flag + 2);
                similar = similar_key(name);
                return fail(error, "there is no flag --%s%s%s%s (see --help)", name,
                            similar != NULL ? "; did you mean --" : "",
                            similar != NULL ? similar : "", similar != NULL ? "?" : "");
            }
            snprintf(where, sizeof(where), "--%s", options[id].key);
            if (options[id].type == CONFIG_BOOL && *end == '\0')
                value = is_bool_word(argv[i + 1]) ? argv[++i] : "yes";
            else
                value = flag_value(argv, &i, end);
            if (value == NULL)
                return fail(error, "%s has no value", where);
            if (!only_file)
                status = set_option(config, id, value, where, seen[id], error);
            seen[id] = true;
            continue;
        }
        if (value == NULL || *value == '\0')
            return fail(error, "--config has no value: it names a file");
        if (!replace(&config->file, value))
            return no_memory(error);
    }
    return status;
}

/* ---- what depends on several ---- */

static const char *
where_of(const struct config *config, enum config_id id)
{
    return config->where[id] != NULL ? config->where[id] : "default";
}

static enum brd_status
check_addresses(struct config *config, enum config_id id, struct config_error *error)
{
    bool insecure = config->number[CONFIG_ALLOW_INSECURE] != 0;
    struct brd_server_error why;
    char address[512];
    const char *text = config->text[id];

    while (text != NULL && *text != '\0') {
        size_t length = strcspn(text, ",");

        if (length >= sizeof(address))
            return fail(error, "%s: an address of %s is too long", where_of(config, id),
                        options[id].key);
        memcpy(address, text, length);
        address[length] = '\0';
        if (brd_server_check_address(address, insecure, &why) != BRD_OK)
            return fail(error, "%s: %s: %s", where_of(config, id), options[id].key, why.text);
        text += length + (text[length] == ',');
    }
    return BRD_OK;
}

/* Without the option: what the service manager gave us, if it did. */
static enum brd_status
find_credential(struct config *config, char *const *environment, struct config_error *error)
{
    const char *dir = get_variable(environment, "CREDENTIALS_DIRECTORY");
    char path[4096];

    if (!config_is_default(config, CONFIG_KEY_FILE) || dir == NULL || *dir == '\0')
        return BRD_OK;
    if ((size_t)snprintf(path, sizeof(path), "%s/" CREDENTIAL, dir) >= sizeof(path) ||
        access(path, F_OK) != 0)
        return BRD_OK;
    return replace(&config->text[CONFIG_KEY_FILE], path) &&
                   replace(&config->where[CONFIG_KEY_FILE], "CREDENTIALS_DIRECTORY")
               ? BRD_OK
               : no_memory(error);
}

static enum brd_status
finish_storage(struct config *config, char *const *environment, struct config_error *error)
{
    const char *state = get_variable(environment, "STATE_DIRECTORY");
    bool none;

    if (config->text[CONFIG_DATA_DIR] == NULL) {
        char dir[4096];

        /* systemd joins several by colons; ours has one. Empty is as good as unset. */
        if (state != NULL)
            state += strspn(state, ":");
        if (state == NULL || *state == '\0')
            state = "./brindle-data";
        snprintf(dir, sizeof(dir), "%.*s", (int)strcspn(state, ":"), state);
        if (!replace(&config->text[CONFIG_DATA_DIR], dir))
            return no_memory(error);
    }
    none = strcmp(config->text[CONFIG_DATA_DIR], "none") == 0;
    if (config->text[CONFIG_DURABILITY] == NULL) {
        bool good = config_value_parse(&options[CONFIG_DURABILITY], none ? "none" : "normal",
                                       &config->number[CONFIG_DURABILITY]);

        BRD_CHECK(good);
        if (!replace(&config->text[CONFIG_DURABILITY], none ? "none" : "normal"))
            return no_memory(error);
    }
    if (none && strcmp(config->text[CONFIG_DURABILITY], "none") != 0)
        return fail(error,
                    "%s: durability is %s, but data-dir is none (%s): without a directory nothing "
                    "can be logged; only durability none is possible",
                    where_of(config, CONFIG_DURABILITY), config->text[CONFIG_DURABILITY],
                    where_of(config, CONFIG_DATA_DIR));
    if (config->number[CONFIG_WARM] != 0 && none)
        return fail(
            error,
            "%s: warm is yes, but data-dir is none (%s): without a directory nothing can be "
            "kept over a restart",
            where_of(config, CONFIG_WARM), where_of(config, CONFIG_DATA_DIR));
    if (config->number[CONFIG_WARM] != 0 && strcmp(config->text[CONFIG_DURABILITY], "none") != 0)
        return fail(
            error,
            "%s: warm is yes, but durability is %s (%s): what is logged is there after every "
            "restart; warm is for durability none",
            where_of(config, CONFIG_WARM), config->text[CONFIG_DURABILITY],
            where_of(config, CONFIG_DURABILITY));
    if (!none)
        return find_credential(config, environment, error);
    if (config_key_file(config) != NULL)
        return fail(error,
                    "%s: there is a key-file, but data-dir is none (%s): without a directory there "
                    "is nothing to encrypt",
                    where_of(config, CONFIG_KEY_FILE), where_of(config, CONFIG_DATA_DIR));
    return BRD_OK;
}

static uint64_t
frame_bytes(const struct config *config)
{
    uint64_t bytes = config->number[CONFIG_MAX_FRAME_SIZE];

    if (bytes != CONFIG_AUTO)
        return bytes;
    return config->number[CONFIG_MAX_VALUE_SIZE] + config->number[CONFIG_MAX_KEY_SIZE] +
           FRAME_OVERHEAD;
}

enum brd_status
config_finish(struct config *config, char *const *environment, struct config_error *out_error)
{
    uint64_t stripes = config->number[CONFIG_STRIPES];
    enum brd_status status = finish_storage(config, environment, out_error);

    if (status == BRD_OK)
        status = check_addresses(config, CONFIG_LISTEN, out_error);
    if (status == BRD_OK)
        status = check_addresses(config, CONFIG_RESP_LISTEN, out_error);
    if (status == BRD_OK)
        status = check_addresses(config, CONFIG_HTTP_LISTEN, out_error);
    if (status != BRD_OK)
        return status;
    if ((stripes & (stripes - 1)) != 0)
        return fail(out_error, "%s: stripes must be a power of two, not %s",
                    where_of(config, CONFIG_STRIPES), config->text[CONFIG_STRIPES]);
    if (config->number[CONFIG_OUTPUT_HARD_LIMIT] < config->number[CONFIG_OUTPUT_SOFT_LIMIT])
        return fail(out_error, "%s: output-hard-limit (%s) is below output-soft-limit (%s)",
                    where_of(config, CONFIG_OUTPUT_HARD_LIMIT),
                    config->text[CONFIG_OUTPUT_HARD_LIMIT], config->text[CONFIG_OUTPUT_SOFT_LIMIT]);
    if (frame_bytes(config) <
        config->number[CONFIG_MAX_VALUE_SIZE] + config->number[CONFIG_MAX_KEY_SIZE] + CONFIG_KB)
        return fail(out_error,
                    "%s: max-frame-size (%s) must be at least max-value-size (%s) and "
                    "max-key-size (%s) and 1kb",
                    where_of(config, CONFIG_MAX_FRAME_SIZE), config->text[CONFIG_MAX_FRAME_SIZE],
                    config->text[CONFIG_MAX_VALUE_SIZE], config->text[CONFIG_MAX_KEY_SIZE]);
    return BRD_OK;
}

enum brd_status
config_load(char *const *argv, char *const *environment, struct config *out_config,
            struct config_error *out_error)
{
    struct config *config = out_config;
    const char *file = get_variable(environment, "BRINDLE_CONFIG");
    enum brd_status status = config_init(config, out_error);

    if (status == BRD_OK && file != NULL && *file != '\0' && !replace(&config->file, file))
        status = no_memory(out_error);
    if (status == BRD_OK)
        status = read_flags(config, argv, true, out_error);
    if (status != BRD_OK || config->action == CONFIG_HELP || config->action == CONFIG_VERSION)
        return status;
    if (config->file != NULL)
        status = read_file(config, out_error);
    if (status == BRD_OK)
        status = read_environment(config, environment, out_error);
    if (status == BRD_OK)
        status = read_flags(config, argv, false, out_error);
    if (status == BRD_OK)
        status = config_finish(config, environment, out_error);
    return status;
}

/* ---- changes while running ---- */

static bool
differs(const struct config *a, const struct config *b, int id)
{
    if (is_text(&options[id]))
        return strcmp(a->text[id] != NULL ? a->text[id] : "",
                      b->text[id] != NULL ? b->text[id] : "") != 0;
    return a->number[id] != b->number[id];
}

void
config_take_reloadable(struct config *config, struct config *fresh,
                       void (*changed)(void *arg, const char *key, const char *old_value,
                                       const char *new_value, bool taken),
                       void *arg)
{
    int i;

    for (i = 0; i < CONFIG_ID_COUNT; i++) {
        char *text = config->text[i];
        char *where = config->where[i];

        if (!differs(config, fresh, i))
            continue;
        changed(arg, options[i].key, config->text[i], fresh->text[i], options[i].reload);
        if (!options[i].reload)
            continue;
        config->number[i] = fresh->number[i];
        config->text[i] = fresh->text[i];
        config->where[i] = fresh->where[i];
        fresh->text[i] = text;
        fresh->where[i] = where;
    }
}

/* ---- printing ---- */

static void __attribute__((format(printf, 2, 3)))
append(struct brd_buf *out, const char *format, ...)
{
    char text[2048];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (n > 0)
        brd_buf_append(out, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

/* Words broken into lines of at most 90 columns that begin with prefix. */
static void
append_wrapped(struct brd_buf *out, const char *prefix, const char *text)
{
    size_t column = 0;

    while (*text != '\0') {
        size_t word = strcspn(text, " ");

        if (column > 0 && column + word + 1 > 90) {
            append(out, "\n");
            column = 0;
        }
        append(out, "%s%.*s", column == 0 ? prefix : " ", (int)word, text);
        column += (column == 0 ? strlen(prefix) : 1) + word;
        text += word + strspn(text + word, " ");
    }
    append(out, "\n");
}

static uint64_t
buffer_bytes(const struct config *config)
{
    uint64_t bytes = config->number[CONFIG_BUFFER_LIMIT];

    if (bytes != CONFIG_AUTO)
        return bytes;
    bytes = config_max_memory(config);
    if (bytes == 0)
        bytes = host_memory();
    return bytes / 4 > BUFFERS_LEAST ? bytes / 4 : BUFFERS_LEAST;
}

static void
append_auto(const struct config *config, enum config_id id, struct brd_buf *out)
{
    if (config->number[id] != CONFIG_AUTO || is_text(&options[id]))
        return;
    if (id == CONFIG_WORKERS)
        append(out, "# auto is %u here\n", host_cpus());
    else if (id == CONFIG_MAX_MEMORY)
        append(out, "# auto is %llu bytes here\n", (unsigned long long)config_max_memory(config));
    else if (id == CONFIG_BUFFER_LIMIT)
        append(out, "# auto is %llu bytes here\n", (unsigned long long)buffer_bytes(config));
    else if (id == CONFIG_MAX_FRAME_SIZE)
        append(out, "# auto is %llu bytes here\n", (unsigned long long)frame_bytes(config));
}

void
config_print(const struct config *config, struct brd_buf *out)
{
    const char *section = "";
    enum config_id i;

    append(out, "# Brindle " BRINDLE_VERSION ": the configuration in effect\n");
    for (i = 0; i < CONFIG_ID_COUNT; i++) {
        if (strcmp(section, options[i].section) != 0)
            append(out, "\n[%s]\n", options[i].section);
        section = options[i].section;
        append_wrapped(out, "# ", options[i].help);
        append_auto(config, i, out);
        /* What is not built yet has no effect, unless somebody asks for it. */
        if ((i == CONFIG_RESP_LISTEN || i == CONFIG_HTTP_LISTEN) && config_is_default(config, i))
            append(out, "# ");
        append(out, "%s = %s\n", options[i].key, config->text[i]);
    }
}

static const char *
value_word(enum config_type type)
{
    switch (type) {
    case CONFIG_TEXT:
        return "PATH";
    case CONFIG_LIST:
        return "ADDRESSES";
    case CONFIG_BOOL:
        return "[yes|no]";
    case CONFIG_NUMBER:
        return "NUMBER";
    case CONFIG_SIZE:
        return "SIZE";
    case CONFIG_TIME:
        return "TIME";
    case CONFIG_MODE:
        return "MODE";
    case CONFIG_CHOICE:
        return "WORD";
    }
    return "VALUE";
}

void
config_help(struct brd_buf *out)
{
    const char *section = "";
    int i;

    append(out,
           "usage: brindled [FLAGS]\n\n"
           "A cache and key-value daemon. Prints one line that begins with \"ready:\" to its\n"
           "standard error when it serves.\n\n"
           "  -c, --config FILE\n"
           "      read this configuration first (also $BRINDLE_CONFIG)\n"
           "  --check-config\n"
           "      say whether the configuration is valid, and stop\n"
           "  --print-config\n"
           "      print the configuration in effect as a file, and stop\n"
           "  -h, --help\n"
           "      print this text, and stop\n"
           "  --version\n"
           "      print version, compiler and memory allocator, and stop\n\n"
           "Every option is a line KEY = VALUE in the section of the file that is shown, an\n"
           "environment variable (BRINDLE_MAX_MEMORY for max-memory), and a flag. A flag wins\n"
           "over the environment, and that over the file. Options with * change on SIGHUP.\n");
    for (i = 0; i < CONFIG_ID_COUNT; i++) {
        const struct config_option *option = &options[i];
        char allowed[512];

        if (strcmp(section, option->section) != 0)
            append(out, "\n[%s]\n", option->section);
        section = option->section;
        append(out, "  --%s %s%s\n", option->key, value_word(option->type),
               option->reload ? " *" : "");
        append_wrapped(out, "      ", option->help);
        if (!is_text(option)) {
            config_value_allowed(option, allowed, sizeof(allowed));
            append_wrapped(out, "      ", allowed);
        }
        if (option->initial != NULL)
            append(out, "      default: %s\n", option->initial);
    }
    append(out,
           "\nExit status: 0 orderly stop, 1 failure, 2 usage or configuration, 3 damaged data,\n"
           "4 wrong key.\n");
}

/* ---- the modules' options ---- */

const char *
config_key_file(const struct config *config)
{
    const char *path = config->text[CONFIG_KEY_FILE];

    return strcmp(path, "none") == 0 ? NULL : path;
}

uint64_t
config_max_memory(const struct config *config)
{
    uint64_t bytes = config->number[CONFIG_MAX_MEMORY];

    return bytes != CONFIG_AUTO ? bytes : host_memory() / 100 * MEMORY_PERCENT;
}

uint64_t
config_disk_reserve(const struct config *config)
{
    uint64_t bytes = config->number[CONFIG_DISK_RESERVE];

    return bytes != CONFIG_AUTO ? bytes : BRD_ENGINE_RESERVE_AUTO;
}

enum brd_eviction
config_eviction(const struct config *config)
{
    /* In the order of the option's choices. */
    static const enum brd_eviction policies[] = {
        BRD_EVICTION_NONE,         /* auto, where something is logged */
        BRD_EVICTION_NONE,         /* noeviction */
        BRD_EVICTION_S3FIFO,       /* s3fifo */
        BRD_EVICTION_LRU,          /* lru */
        BRD_EVICTION_VOLATILE_TTL, /* volatile-ttl */
        BRD_EVICTION_RANDOM,       /* random */
        BRD_EVICTION_LRU,          /* allkeys-lru */
        BRD_EVICTION_S3FIFO,       /* allkeys-lfu */
        BRD_EVICTION_RANDOM,       /* allkeys-random */
        BRD_EVICTION_VOLATILE_TTL, /* volatile-lru, and the others: only keys with a deadline */
        BRD_EVICTION_VOLATILE_TTL, BRD_EVICTION_VOLATILE_TTL,
    };
    uint64_t choice = config->number[CONFIG_EVICTION];

    BRD_CHECK(choice < sizeof(policies) / sizeof(policies[0]));
    if (choice == 0 && strcmp(config->text[CONFIG_DURABILITY], "none") == 0)
        return BRD_EVICTION_S3FIFO;
    return policies[choice];
}

int
config_log_level(const struct config *config)
{
    return (int)config->number[CONFIG_LOG_LEVEL] + BRD_DIAG_ERROR;
}

void
config_engine_options(const struct config *config, struct brd_engine_options *out_options)
{
    bool memory_only = strcmp(config->text[CONFIG_DATA_DIR], "none") == 0;

    *out_options = (struct brd_engine_options){
        .data_dir = memory_only ? NULL : config->text[CONFIG_DATA_DIR],
        .stripes = (uint32_t)config->number[CONFIG_STRIPES],
        .max_memory_bytes = config_max_memory(config),
        .eviction = config_eviction(config),
        .held_bytes_max = buffer_bytes(config),
        .huge_pages = config->number[CONFIG_HUGE_PAGES] != 0,
        .durability =
            (enum brd_durability)(config->number[CONFIG_DURABILITY] + BRD_DURABILITY_NONE),
        .warm = config->number[CONFIG_WARM] != 0,
        .max_key_bytes = config->number[CONFIG_MAX_KEY_SIZE],
        .max_value_bytes = config->number[CONFIG_MAX_VALUE_SIZE],
        .max_batch_keys = config->number[CONFIG_MAX_BATCH_KEYS],
        .wal_segment_bytes = config->number[CONFIG_WAL_SEGMENT_SIZE],
        .wal_queue_bytes = config->number[CONFIG_WAL_QUEUE_SIZE],
        .wal_sync_interval_ns = config->number[CONFIG_WAL_SYNC_INTERVAL],
        .disk_reserve_bytes = config_disk_reserve(config),
        .checkpoint_log_bytes = config->number[CONFIG_CHECKPOINT_LOG_SIZE],
        .checkpoint_interval_ns = config->number[CONFIG_CHECKPOINT_INTERVAL],
        .checkpoint_rate_bytes = config->number[CONFIG_CHECKPOINT_RATE],
        .checkpoint_on_stop = config->number[CONFIG_CHECKPOINT_ON_STOP] != 0,
        .reap_interval_ns = config->number[CONFIG_REAP_INTERVAL],
        .max_clock_behind_ns = config->number[CONFIG_MAX_CLOCK_BEHIND],
        .ignore_clock = config->number[CONFIG_IGNORE_CLOCK] != 0,
    };
}

void
config_server_limits(const struct config *config, struct brd_server_limits *out_limits)
{
    *out_limits = (struct brd_server_limits){
        .connections_max = (uint32_t)config->number[CONFIG_MAX_CONNECTIONS],
        .connections_per_address_max = (uint32_t)config->number[CONFIG_MAX_CONNECTIONS_PER_ADDRESS],
        .idle_ns = config->number[CONFIG_IDLE_TIMEOUT],
        .progress_bytes = config->number[CONFIG_PROGRESS_SIZE],
        .progress_ns = config->number[CONFIG_PROGRESS_TIME],
        .output_hard_bytes = config->number[CONFIG_OUTPUT_HARD_LIMIT],
        .output_soft_ns = config->number[CONFIG_OUTPUT_SOFT_TIME],
        .buffer_bytes = buffer_bytes(config),
        .session.output_soft_bytes = config->number[CONFIG_OUTPUT_SOFT_LIMIT],
        .session.output_blob_bytes = config->number[CONFIG_OUTPUT_BLOB_LIMIT],
        .session.pending_max = (uint32_t)config->number[CONFIG_MAX_PENDING_REQUESTS],
    };
}

enum brd_status
config_server_options(struct config *config, struct brd_server_options *out_options)
{
    const char *text = config->text[CONFIG_LISTEN];

    free_scratch(config);
    while (*text != '\0' && config->scratch_count < sizeof(config->scratch) / sizeof(char *)) {
        size_t length = strcspn(text, ",");
        char *address = strndup(text, length);

        if (address == NULL)
            return BRD_OUT_OF_MEMORY;
        config->scratch[config->scratch_count++] = address;
        text += length + (text[length] == ',');
    }
    *out_options = (struct brd_server_options){
        .listen = (const char *const *)config->scratch,
        .listen_count = config->scratch_count,
        .listen_is_default = config_is_default(config, CONFIG_LISTEN),
        .inherit = true,
        .allow_insecure = config->number[CONFIG_ALLOW_INSECURE] != 0,
        .socket_mode = (mode_t)config->number[CONFIG_SOCKET_MODE],
        .backlog = (int)config->number[CONFIG_BACKLOG],
        .workers = config->number[CONFIG_WORKERS] == CONFIG_AUTO
                       ? host_cpus()
                       : (uint32_t)config->number[CONFIG_WORKERS],
        .balance = { .interval_ns =
                         config->number[CONFIG_BALANCE_CONNECTIONS] != 0 ? BALANCE_INTERVAL_NS : 0,
                     .busy_permille = BALANCE_BUSY_PERMILLE,
                     .gap_permille = BALANCE_GAP_PERMILLE },
        .keepalive_idle_s = (uint32_t)(config->number[CONFIG_KEEPALIVE_IDLE] / BRD_NS_PER_S),
        .keepalive_interval_s =
            (uint32_t)(config->number[CONFIG_KEEPALIVE_INTERVAL] / BRD_NS_PER_S),
        .keepalive_count = (uint32_t)config->number[CONFIG_KEEPALIVE_COUNT],
        .user_timeout_ms = (uint32_t)(config->number[CONFIG_USER_TIMEOUT] / BRD_NS_PER_MS),
        .session.frame_bytes_max = frame_bytes(config),
        .session.batch_keys_max = config->number[CONFIG_MAX_BATCH_KEYS],
    };
    config_server_limits(config, &out_options->limits);
    return BRD_OK;
}
