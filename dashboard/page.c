#include "dashboard/page.h"

#include <stdio.h>

enum { LIBRARY_MAX = 4 << 20 };

static const char *type_of(const char *name)
{
    static const struct {
        const char *end, *type;
    } types[] = {{".html", "text/html; charset=utf-8"},
                 {".css", "text/css; charset=utf-8"},
                 {".js", "text/javascript; charset=utf-8"},
                 {".svg", "image/svg+xml"}};
    size_t len = strlen(name);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        size_t end = strlen(types[i].end);
        if (len > end && strcmp(name + len - end, types[i].end) == 0) {
            return types[i].type;
        }
    }
    return "application/octet-stream";
}

/* MQA_DYGRAPHS_DIR comes from the build. */
static const struct {
    const char *name, *path;
} library[] = {{"dygraph.min.js", MQA_DYGRAPHS_DIR "/dygraph.min.js"},
               {"dygraph.min.css", MQA_DYGRAPHS_DIR "/dygraph.min.css"}};

static enum err read_file(const char *path, struct buffer *out)
{
    FILE *f = fopen(path, "rbe");
    enum err e = f ? E_OK : E_NOT_FOUND;
    while (e == E_OK && !feof(f)) {
        e = buffer_reserve(out, 65536);
        if (e == E_OK) {
            out->len += fread(out->data + out->len, 1, 65536, f);
            e = ferror(f) ? E_IO : E_OK;
        }
    }
    if (f) {
        fclose(f);
    }
    return e;
}

static enum err send_library(const struct exchange *x, const char *name, const char *path)
{
    struct reply r = {.status = 200, .type = type_of(name), .cache = REPLY_FOR_A_DAY};
    struct buffer text;
    buffer_init(&text, LIBRARY_MAX);
    enum err e = read_file(path, &text);
    e = e == E_OK ? reply_send(x, &r, buffer_bytes(&text))
                  : reply_error(x, 404, "no-chart-library",
                                "The chart library is not installed on the gateway (package libjs-dygraphs).");
    buffer_finish(&text);
    return e;
}

enum err page_send(const struct exchange *x, struct bytes name, bool versioned)
{
    for (const struct page_file *f = page_files; f->name; f++) {
        if (bytes_equal(bytes_str(f->name), name)) {
            struct reply r = {.status = 200,
                              .type = type_of(f->name),
                              .cache = versioned ? REPLY_FOR_EVER : REPLY_REVALIDATE,
                              .is_page = strstr(f->name, ".html") != NULL};
            return reply_send(x, &r, bytes_make(f->data, f->size));
        }
    }
    for (size_t i = 0; i < sizeof(library) / sizeof(library[0]); i++) {
        if (bytes_equal(bytes_str(library[i].name), name)) {
            return send_library(x, library[i].name, library[i].path);
        }
    }
    return reply_error(x, 404, "not-found", "there is no such page");
}
