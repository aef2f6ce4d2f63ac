/* The log destinations of base/program.h. */
#include "base/clock.h"
#include "base/program.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

/* syslog.h and base/log.h both define LOG_WARNING and others: the functions are declared here, as POSIX has them. */
void openlog(const char *ident, int option, int facility);
void syslog(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));
void closelog(void);
enum { SYSLOG_PID = 1, SYSLOG_DAEMON = 3 << 3 };

#define ALL_LEVELS (1u << LOG_ERROR | 1u << LOG_WARNING | 1u << LOG_NOTICE | 1u << LOG_INFO | 1u << LOG_DEBUG)
#define DEFAULT_LEVELS (ALL_LEVELS & ~(1u << LOG_DEBUG))
/* In log_levels: `none` was said, so that 0 bits do not mean the default. */
#define LEVELS_NONE (1u << 31)

static const struct {
    const char *word;
    unsigned bits;
} level_words[] = {
    {"error", 1u << LOG_ERROR},      {"warning", 1u << LOG_WARNING}, {"notice", 1u << LOG_NOTICE},
    {"information", 1u << LOG_INFO}, {"debug", 1u << LOG_DEBUG},     {"all", ALL_LEVELS},
    {"none", LEVELS_NONE},
};
#define SINGLE_LEVELS 5

static struct {
    unsigned dests;
    unsigned levels;
    const char *path; /* borrowed from the options */
    int fd;           /* of the file; guarded by lock, because reopening replaces it */
    pthread_mutex_t lock;
} out = {.fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER};

enum err program_set_log_dest(void *config, struct bytes value, struct option_error *error)
{
    struct program_options *o = config;
    struct bytes word = {0};
    option_next_word(&value, &word);
    value = option_trim(value);
    if (bytes_equal(word, BYTES("file")) && value.len > 0) {
        struct bytes path;
        struct bytes rest = value;
        if (!option_next_word(&rest, &path) || option_trim(rest).len > 0) {
            path = value;
        }
        char *copy = bytes_dup_str(path);
        if (!copy) {
            return E_NOMEM;
        }
        free(o->log_file);
        o->log_file = copy;
        o->log_dests |= PROGRAM_LOG_FILE;
    } else if (bytes_equal(word, BYTES("stdout")) && value.len == 0) {
        o->log_dests |= PROGRAM_LOG_STDOUT;
    } else if (bytes_equal(word, BYTES("syslog")) && value.len == 0) {
        o->log_dests |= PROGRAM_LOG_SYSLOG;
    } else {
        option_error_set(error, "must be stdout, syslog or file PATH");
        return E_INVALID;
    }
    return E_OK;
}

enum err program_print_log_dest(const void *config, const char *name, struct buffer *text)
{
    const struct program_options *o = config;
    enum err e = E_OK;
    if (o->log_dests & PROGRAM_LOG_STDOUT) {
        e = buffer_appendf(text, "%s stdout\n", name);
    }
    if (e == E_OK && o->log_dests & PROGRAM_LOG_SYSLOG) {
        e = buffer_appendf(text, "%s syslog\n", name);
    }
    if (e == E_OK && o->log_dests & PROGRAM_LOG_FILE) {
        e = buffer_appendf(text, "%s file %s\n", name, o->log_file);
    }
    return e;
}

void program_finish_log_dest(void *config)
{
    struct program_options *o = config;
    free(o->log_file);
    o->log_file = NULL;
    o->log_dests = 0;
}

enum err program_set_log_type(void *config, struct bytes value, struct option_error *error)
{
    struct program_options *o = config;
    struct bytes word;
    unsigned levels = 0;
    while (option_next_word(&value, &word)) {
        size_t i = 0;
        while (i < sizeof(level_words) / sizeof(level_words[0]) && !bytes_equal(word, bytes_str(level_words[i].word))) {
            i++;
        }
        if (i == sizeof(level_words) / sizeof(level_words[0])) {
            char shown[64];
            option_error_set(error, "\"%s\" is not error, warning, notice, information, debug, all or none",
                             log_escape(word, shown, sizeof(shown)));
            return E_INVALID;
        }
        levels |= level_words[i].bits;
    }
    o->log_levels |= levels;
    return E_OK;
}

enum err program_print_log_type(const void *config, const char *name, struct buffer *text)
{
    const struct program_options *o = config;
    if (o->log_levels == 0) {
        return E_OK;
    }
    enum err e = buffer_append_str(text, name);
    if ((o->log_levels & ALL_LEVELS) == 0 && e == E_OK) {
        e = buffer_append_str(text, " none");
    }
    for (size_t i = 0; i < SINGLE_LEVELS && e == E_OK; i++) {
        if (o->log_levels & level_words[i].bits) {
            e = buffer_appendf(text, " %s", level_words[i].word);
        }
    }
    return e == E_OK ? buffer_append_byte(text, '\n') : e;
}

void program_finish_log_type(void *config)
{
    ((struct program_options *)config)->log_levels = 0;
}

/* One writev per line, so that lines of several threads do not mix. What cannot be written is lost: there is nowhere to
 * complain. */
static void write_to(int fd, enum log_level level, const char *line)
{
    char head[WALL_ISO8601_SIZE + 16];
    char stamp[WALL_ISO8601_SIZE];
    wall_format_iso8601(wall_now(), stamp);
    int n = snprintf(head, sizeof(head), "%s %s: ", stamp, log_level_name(level));
    /* writev does not write through iov_base. */
    struct iovec parts[] = {{head, (size_t)n}, {(void *)(uintptr_t)line, strlen(line)}, {(void *)(uintptr_t) "\n", 1}};
    ssize_t written;
    do {
        written = writev(fd, parts, 3);
    } while (written < 0 && errno == EINTR);
}

static void write_line(void *ctx, enum log_level level, const char *line)
{
    static const int priorities[] = {
        [LOG_ERROR] = 3, [LOG_WARNING] = 4, [LOG_NOTICE] = 5, [LOG_INFO] = 6, [LOG_DEBUG] = 7};
    (void)ctx;
    if (!(out.levels & 1u << level)) {
        return;
    }
    if (out.dests & PROGRAM_LOG_STDOUT) {
        write_to(STDOUT_FILENO, level, line);
    }
    if (out.dests & PROGRAM_LOG_SYSLOG) {
        syslog(priorities[level], "%s", line);
    }
    if (out.dests & PROGRAM_LOG_FILE) {
        pthread_mutex_lock(&out.lock);
        write_to(out.fd, level, line);
        pthread_mutex_unlock(&out.lock);
    }
}

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
}

enum err program_log_open(const struct program *p, const struct program_options *o)
{
    out.dests = o->log_dests ? o->log_dests : PROGRAM_LOG_STDOUT;
    out.levels = o->log_levels ? o->log_levels & ALL_LEVELS : DEFAULT_LEVELS;
    out.path = o->log_file;
    if (out.dests & PROGRAM_LOG_FILE) {
        out.fd = open_file(out.path);
        if (out.fd < 0) {
            enum err e = err_from_errno(errno);
            struct option_error why;
            option_error_set(&why, "option log_dest: %s: %m", out.path);
            program_complain(p, o, e, &why);
            return e;
        }
    }
    if (out.dests & PROGRAM_LOG_SYSLOG) {
        openlog(p->name, SYSLOG_PID, SYSLOG_DAEMON);
    }
    log_init(write_line, NULL, out.levels & 1u << LOG_DEBUG ? LOG_DEBUG : LOG_INFO);
    return E_OK;
}

LOG_POINT(log_reopen_failed, "log.reopen", LOG_ERROR, "log file cannot be opened again; the old one stays in use");

void program_log_reopen(void)
{
    if (!(out.dests & PROGRAM_LOG_FILE)) {
        return;
    }
    int fd = open_file(out.path);
    if (fd < 0) {
        log_emit(&log_reopen_failed, "path=%s error=%s", out.path, err_name(err_from_errno(errno)));
        return;
    }
    pthread_mutex_lock(&out.lock);
    int old = out.fd;
    out.fd = fd;
    pthread_mutex_unlock(&out.lock);
    close(old);
}

void program_log_close(void)
{
    log_init(NULL, NULL, LOG_INFO);
    if (out.dests & PROGRAM_LOG_SYSLOG) {
        closelog();
    }
    if (out.fd >= 0) {
        close(out.fd);
        out.fd = -1;
    }
    out.dests = 0;
}
