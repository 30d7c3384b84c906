/* Runs a fuzz target over every file of the given folders, so each saved input is an ordinary test.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static int count;

static int not_hidden(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void replay(const char *folder, const char *name)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "rbe");
    if (file == NULL) {
        printf("not ok %d - %s cannot be opened\n", ++count, path);
        return;
    }
    enum { LIMIT = 1 << 20 };
    uint8_t *bytes = malloc(LIMIT);
    size_t length = fread(bytes, 1, LIMIT, file);
    (void)fclose(file);
    /* A fresh allocation of the exact length, so that a sanitizer sees a read past the end. */
    uint8_t *exact = realloc(bytes, length + (length == 0));
    printf("# %s\n", path); /* the last line to be seen, should this input crash it */
    (void)fflush(stdout);
    (void)LLVMFuzzerTestOneInput(exact, length);
    free(exact);
    printf("ok %d - %s\n", ++count, name);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct dirent **entries;
        int n = scandir(argv[i], &entries, not_hidden, alphasort);
        for (int k = 0; k < n; k++) {
            replay(argv[i], entries[k]->d_name);
            free(entries[k]);
        }
        if (n >= 0)
            free(entries);
    }
    if (count == 0)
        printf("not ok %d - no corpus\n", ++count);
    printf("1..%d\n", count);
    return EXIT_SUCCESS;
}
