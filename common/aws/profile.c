#include "aws/profile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Settings by which a profile gets credentials from elsewhere. */
static const char *const unsupported[] = {
    "credential_process", "credential_source", "role_arn",      "source_profile",          "sso_session",
    "sso_start_url",      "sso_account_id",    "login_session", "web_identity_token_file",
};

static struct bytes trim(struct bytes b)
{
    while (b.len && (b.data[0] == ' ' || b.data[0] == '\t')) {
        b = bytes_sub(b, 1, b.len);
    }
    while (b.len && strchr(" \t\r", b.data[b.len - 1]) && b.data[b.len - 1] != '\0') {
        b.len--;
    }
    return b;
}

/* Cuts " # comment" and " ; comment" off. No value that we read holds a blank. */
static struct bytes cut_comment(struct bytes b)
{
    for (size_t i = 1; i < b.len; i++) {
        if ((b.data[i] == '#' || b.data[i] == ';') && (b.data[i - 1] == ' ' || b.data[i - 1] == '\t')) {
            return trim(bytes_sub(b, 0, i));
        }
    }
    return b;
}

static struct bytes next_line(struct bytes *rest)
{
    const uint8_t *end = memchr(rest->data, '\n', rest->len);
    size_t len = end ? (size_t)(end - rest->data) : rest->len;
    struct bytes line = bytes_sub(*rest, 0, len);
    *rest = bytes_sub(*rest, len + (end ? 1 : 0), rest->len);
    return line;
}

/* "[name]": whether the section is the one that is looked for. E_MALFORMED without its closing bracket. */
static enum err read_section(struct bytes line, enum aws_profile_file file, const char *name, bool *ours)
{
    line = cut_comment(line);
    if (line.data[line.len - 1] != ']') {
        return E_MALFORMED;
    }
    struct bytes section = trim(bytes_sub(line, 1, line.len - 2));
    *ours = false;
    bool is_default = bytes_equal(section, BYTES("default"));
    if (file == AWS_CONFIG_FILE && !is_default) {
        if (section.len < 8 || memcmp(section.data, "profile", 7) != 0 ||
            (section.data[7] != ' ' && section.data[7] != '\t')) {
            return E_OK; /* [sso-session x], [services y] */
        }
        section = trim(bytes_sub(section, 7, section.len));
    }
    if (section.len >= 2 && section.data[0] == '"' && section.data[section.len - 1] == '"') {
        section = bytes_sub(section, 1, section.len - 2);
    }
    *ours = bytes_equal(section, bytes_str(name));
    return E_OK;
}

static enum err set_once(char **to, struct bytes value)
{
    if (*to || value.len == 0) {
        return E_OK;
    }
    *to = bytes_dup_str(value);
    return *to ? E_OK : E_NOMEM;
}

static enum err read_setting(struct bytes key, struct bytes value, struct aws_profile *out)
{
    const struct {
        const char *key;
        char **to;
    } rows[] = {
        {"aws_access_key_id", &out->access_key},
        {"aws_secret_access_key", &out->secret_key},
        {"aws_session_token", &out->session_token},
        {"aws_security_token", &out->session_token},
        {"region", &out->region},
        {"ca_bundle", &out->ca_bundle},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (bytes_equal(key, bytes_str(rows[i].key))) {
            return set_once(rows[i].to, value);
        }
    }
    for (size_t i = 0; i < sizeof(unsupported) / sizeof(unsupported[0]) && !out->unsupported; i++) {
        if (bytes_equal(key, bytes_str(unsupported[i]))) {
            out->unsupported = unsupported[i];
        }
    }
    return E_OK;
}

/* A key of one file must not meet a secret of the other: what belongs together is taken together. */
static enum err merge(struct aws_profile *out, struct aws_profile *read)
{
    if (!out->access_key && !out->secret_key) {
        out->access_key = read->access_key;
        out->secret_key = read->secret_key;
        free(out->session_token);
        out->session_token = read->session_token;
        read->access_key = read->secret_key = read->session_token = NULL;
    }
    enum err e = set_once(&out->region, bytes_str(read->region));
    e = e ? e : set_once(&out->ca_bundle, bytes_str(read->ca_bundle));
    out->unsupported = out->unsupported ? out->unsupported : read->unsupported;
    out->found = out->found || read->found;
    return e;
}

enum err aws_profile_parse(struct bytes text, enum aws_profile_file file, const char *name, struct aws_profile *out,
                           struct aws_error *error)
{
    struct aws_profile read = {0};
    bool ours = false;
    bool any_section = false;
    unsigned number = 0;
    enum err e = E_OK;
    if (bytes_starts_with(text, BYTES("\xEF\xBB\xBF"))) {
        text = bytes_sub(text, 3, text.len);
    }
    while (text.len && !e) {
        struct bytes raw = next_line(&text);
        struct bytes line = trim(raw);
        number++;
        /* indented lines belong to a nested setting ("s3 =") */
        bool nested = raw.len && (raw.data[0] == ' ' || raw.data[0] == '\t');
        if (line.len == 0 || line.data[0] == '#' || line.data[0] == ';' || nested) {
            continue;
        }
        if (line.data[0] == '[') {
            e = read_section(line, file, name, &ours);
            read.found = read.found || ours;
            any_section = true;
            continue;
        }
        const uint8_t *equals = memchr(line.data, '=', line.len);
        if (!equals || !any_section || memchr(line.data, '\0', line.len)) {
            e = E_MALFORMED;
        } else if (ours) {
            size_t at = (size_t)(equals - line.data);
            e = read_setting(trim(bytes_sub(line, 0, at)), cut_comment(trim(bytes_sub(line, at + 1, line.len))), &read);
        }
    }
    if (e == E_MALFORMED) {
        aws_error_set(error, "line %u is neither a section nor a setting", number);
    } else if (!e) {
        e = merge(out, &read);
    }
    aws_profile_finish(&read);
    return e;
}

static void wipe(char *s)
{
    if (s) {
        explicit_bzero(s, strlen(s));
        free(s);
    }
}

void aws_profile_finish(struct aws_profile *p)
{
    wipe(p->access_key);
    wipe(p->secret_key);
    wipe(p->session_token);
    free(p->region);
    free(p->ca_bundle);
    *p = (struct aws_profile){0};
}

const char *aws_profile_name(const char *configured)
{
    if (configured && configured[0]) {
        return configured;
    }
    const char *name = getenv("AWS_PROFILE");
    return name && name[0] ? name : "default";
}

static enum err read_all(int fd, struct buffer *out)
{
    for (;;) {
        enum err e = buffer_reserve(out, 4096);
        if (e) {
            return e == E_FULL ? E_TOO_LARGE : e;
        }
        ssize_t n = read(fd, out->data + out->len, 4096);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? err_from_errno(errno) : E_OK;
        }
        out->len += (size_t)n;
    }
}

/* A file that is not there is empty; so is one in a folder that we may not look into, unless it was named (other programs'
 * home directories are none of our business). */
static enum err read_file(const char *path, bool named, struct buffer *out, struct aws_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        int failed = errno;
        if (failed == ENOENT || failed == ENOTDIR || (failed == EACCES && !named)) {
            return E_OK;
        }
        aws_error_set(error, "%s: %s", path, strerror(failed));
        return err_from_errno(failed);
    }
    struct stat st;
    enum err e = E_OK;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        aws_error_set(error, "%s: not a regular file", path);
        e = E_INVALID;
    } else {
        e = read_all(fd, out);
        if (e) {
            aws_error_set(error, "%s: %s", path, err_name(e));
        }
    }
    close(fd);
    return e;
}

/* HOME, or what the password file says (a service has no HOME). */
static bool find_home(char *out, size_t size)
{
    const char *set = getenv("HOME");
    if (set && set[0]) {
        return (size_t)snprintf(out, size, "%s", set) < size;
    }
    char memory[4096];
    struct passwd entry;
    struct passwd *found = NULL;
    return getpwuid_r(geteuid(), &entry, memory, sizeof(memory), &found) == 0 && found && found->pw_dir &&
           (size_t)snprintf(out, size, "%s", found->pw_dir) < size;
}

static enum err load(const char *variable, const char *in_home, enum aws_profile_file file, const char *name,
                     struct aws_profile *out, struct aws_error *error)
{
    char path[PATH_MAX];
    char home[PATH_MAX - 64];
    const char *named = getenv(variable);
    if (named && named[0]) {
        snprintf(path, sizeof(path), "%s", named);
    } else if (find_home(home, sizeof(home))) {
        snprintf(path, sizeof(path), "%s/%s", home, in_home);
    } else {
        return E_OK;
    }
    struct buffer text;
    buffer_init(&text, AWS_PROFILE_FILE_MAX);
    enum err e = read_file(path, named && named[0], &text, error);
    if (!e && text.len) {
        struct aws_error why;
        e = aws_profile_parse(buffer_bytes(&text), file, name, out, &why);
        if (e == E_MALFORMED) {
            aws_error_set(error, "%.200s: %.100s", path, why.text);
        } else if (e) {
            aws_error_set(error, "%.200s: %s", path, err_name(e));
        }
    }
    if (text.data) {
        explicit_bzero(text.data, text.cap);
    }
    buffer_finish(&text);
    return e;
}

enum err aws_profile_load(const char *name, struct aws_profile *out, struct aws_error *error)
{
    name = aws_profile_name(name);
    enum err e = load("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials", AWS_CREDENTIALS_FILE, name, out, error);
    return e ? e : load("AWS_CONFIG_FILE", ".aws/config", AWS_CONFIG_FILE, name, out, error);
}
