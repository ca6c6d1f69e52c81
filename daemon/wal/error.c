#include "wal/error.h"

#include "base/file.h"

#include <stdarg.h>
#include <stdio.h>

enum brd_status
error_set(struct brd_wal_error *error, enum brd_status status, const char *path, uint64_t offset,
          const char *format, ...)
{
    va_list args;

    if (error == NULL)
        return status;
    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    snprintf(error->path, sizeof(error->path), "%s", path != NULL ? path : "");
    error->offset = offset;
    return status;
}

enum brd_status
error_io(struct brd_wal_error *error, int result, const char *action, const char *path)
{
    return error_set(error, brd_file_status(result), path, 0, "cannot %s %s: %s", action, path,
                     brd_file_error(result));
}
