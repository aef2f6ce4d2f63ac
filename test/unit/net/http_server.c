#include "net/http_server.h"

#include "base/buffer.h"
#include "unit.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <time.h>

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

struct upload {
    struct buffer body;
};

static void add_header_line(struct buffer *b, const char *name, const char *value)
{
    assert_int_equal(buffer_appendf(b, "%s: %s\n", name, value ? value : ""), E_OK);
}

static enum MHD_Result on_header_line(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind;
    add_header_line(cls, name, value);
    return MHD_YES;
}

static enum MHD_Result answer(struct MHD_Connection *connection, const char *method, const char *url, struct upload *u)
{
    struct buffer text;
    buffer_init(&text, (size_t)64 * 1024 * 1024);
    assert_int_equal(buffer_appendf(&text, "%s %s\n", method, url), E_OK);
    MHD_get_connection_values(connection, MHD_HEADER_KIND, on_header_line, &text);
    assert_int_equal(buffer_append_str(&text, "\n"), E_OK);
    assert_int_equal(buffer_append(&text, buffer_bytes(&u->body)), E_OK);
    if (strcmp(url, "/slow") == 0) {
        sleep_ms(400);
    }
    struct MHD_Response *response = MHD_create_response_from_buffer(text.len, text.data, MHD_RESPMEM_MUST_FREE);
    MHD_add_response_header(response, "X-Thing", "first");
    MHD_add_response_header(response, "X-Thing", "second");
    enum MHD_Result r = MHD_queue_response(connection, strcmp(url, "/missing") == 0 ? 404 : 200, response);
    MHD_destroy_response(response);
    buffer_finish(&u->body);
    free(u);
    return r;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *data, size_t *size, void **state)
{
    struct http_server *s = cls;
    struct upload *u = *state;
    (void)version;
    if (!u) {
        u = calloc(1, sizeof(*u));
        buffer_init(&u->body, (size_t)64 * 1024 * 1024);
        *state = u;
        atomic_fetch_add(&s->requests, 1);
        return MHD_YES;
    }
    if (*size > 0) {
        assert_int_equal(buffer_append(&u->body, bytes_make(data, *size)), E_OK);
        *size = 0;
        return MHD_YES;
    }
    *state = NULL;
    return answer(connection, method, url, u);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    struct upload *u = *state;
    (void)cls;
    (void)connection;
    (void)code;
    if (u) {
        buffer_finish(&u->body);
        free(u);
    }
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **state,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_server *s = cls;
    (void)connection;
    (void)state;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        unsigned open = atomic_fetch_add(&s->open, 1) + 1;
        atomic_fetch_add(&s->connections, 1);
        if (open > atomic_load(&s->most_open)) {
            atomic_store(&s->most_open, open);
        }
    } else {
        atomic_fetch_sub(&s->open, 1);
    }
}

static void *keep_url(void *cls, const char *url, struct MHD_Connection *connection)
{
    (void)cls;
    (void)url;
    (void)connection;
    return NULL;
}

void http_server_start(struct http_server *s)
{
    memset(s, 0, sizeof(*s));
    s->daemon =
        MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, s,
                         MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
                         MHD_OPTION_URI_LOG_CALLBACK, keep_url, NULL, MHD_OPTION_END);
    assert_non_null(s->daemon);
    s->port = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
}

void http_server_stop(struct http_server *s)
{
    MHD_stop_daemon(s->daemon);
}
