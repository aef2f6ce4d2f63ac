/* Files and values that nobody else should see. */
#include "base/log.h"
#include "base/option.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

LOG_POINT(log_open, "config.open", LOG_WARNING, "every user of this machine can read a secret, or change it");
LOG_POINT(log_shown, "config.shown", LOG_WARNING,
          "a secret on the command line: every user of this machine can see it");

/* May a user that neither owns the file nor is of its group read or write it, and get to it? */
static bool is_open(const char *path)
{
    char real[PATH_MAX];
    struct stat st;
    if (!realpath(path, real) || stat(real, &st) != 0 || !S_ISREG(st.st_mode) ||
        !(st.st_mode & (mode_t)(S_IROTH | S_IWOTH))) {
        return false;
    }
    for (char *slash = strrchr(real, '/'); slash && slash != real; slash = strrchr(real, '/')) {
        *slash = '\0';
        if (stat(real, &st) != 0 || !(st.st_mode & S_IXOTH)) {
            return false;
        }
    }
    return true;
}

static void note_file(const char *option, const char *path)
{
    char shown[256];
    if (is_open(path)) {
        log_emit(&log_open, "option=%s file=\"%s\"", option, log_escape(bytes_str(path), shown, sizeof(shown)));
    }
}

void options_note_secrets(const struct option_table *t, const void *config, const char *file, uint64_t arguments)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct option_row *row = &t->rows[i];
        const char *value = row->secret ? *(char *const *)(const void *)((const char *)config + row->offset) : NULL;
        if (!value) {
            continue;
        }
        if (row->type == OPTION_PATH) {
            note_file(row->name, value);
        } else if (i < 64 && (arguments >> i & 1)) {
            log_emit(&log_shown, "option=%s", row->name);
        } else if (file) {
            note_file(row->name, file);
        }
    }
}
