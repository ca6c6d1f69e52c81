/* A main() for fuzz harnesses where there is no libFuzzer.
 *
 * Runs the harness once on every file named on the command line, and on every file below
 * every directory named there, so that a corpus found with clang is a test under any compiler.
 * Without arguments it runs the harness on the empty input. Exit status: 0 when all inputs
 * were run (a harness reports by aborting), 2 when one could not be read. */
#include <errno.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

static unsigned long inputs;

/* Reads into an allocation of exactly the file's size, so that the address sanitizer sees a
 * read one byte past the end. */
static int
run_file(const char *path, size_t size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(size != 0 ? size : 1);

    if (file == NULL || data == NULL || fread(data, 1, size, file) != size) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        free(data);
        if (file != NULL)
            fclose(file);
        return 2;
    }
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    inputs++;
    return 0;
}

static int
visit(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)walk;
    if (type == FTW_D || type == FTW_DP)
        return 0;
    if (type != FTW_F) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return 2;
    }
    return run_file(path, (size_t)info->st_size);
}

int
main(int argc, char **argv)
{
    if (LLVMFuzzerInitialize != NULL)
        LLVMFuzzerInitialize(&argc, &argv);
    if (argc < 2) {
        LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
        inputs++;
    }
    for (int i = 1; i < argc; i++) {
        int status = nftw(argv[i], visit, 16, FTW_PHYS);
        if (status != 0) {
            if (status < 0)
                fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
            return 2;
        }
    }
    printf("%lu inputs, none aborted\n", inputs);
    return 0;
}
