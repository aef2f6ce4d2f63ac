/* Runs a fuzz target over every file of the folders and files given: the seeds as a regression test. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return -1;
    }
    struct stat st;
    int result = -1;
    if (fstat(fileno(f), &st) == 0) {
        size_t size = (size_t)st.st_size;
        uint8_t *data = malloc(size ? size : 1);
        if (data && fread(data, 1, size, f) == size) {
            LLVMFuzzerTestOneInput(data, size);
            result = 0;
        }
        free(data);
    }
    fclose(f);
    return result;
}

static int run_folder(const char *path, unsigned *count)
{
    DIR *dir = opendir(path);
    if (!dir) {
        return -1;
    }
    int result = 0;
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        char file[4096];
        if (e->d_name[0] == '.') {
            continue;
        }
        snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
        result |= run_file(file);
        (*count)++;
    }
    closedir(dir);
    return result;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    int result = 0;
    for (int i = 1; i < argc; i++) {
        if (run_folder(argv[i], &count) != 0) {
            result |= run_file(argv[i]);
            count++;
        }
    }
    printf("%u seeds\n", count);
    return result == 0 && count > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
