#include "net/http_curl.h"

#include <stdlib.h>

static void on_socket_closed(uv_handle_t *handle)
{
    struct http_socket *s = handle->data;
    http_client_release(s->client);
    free(s);
}

static void on_socket_event(uv_poll_t *poll, int status, int events)
{
    struct http_socket *s = poll->data;
    struct http_client *c = s->client;
    uv_os_fd_t fd = -1;
    int running = 0;
    if (status < 0) {
        /* The socket has failed and libuv has stopped to watch it. Curl finds out what it is by reading, and what the server
         * said before (a TLS alert) comes first; CURL_CSELECT_ERR would hide that. */
        events = UV_READABLE | UV_WRITABLE;
        uv_poll_start(poll, s->events, on_socket_event);
    }
    int what = (events & UV_READABLE ? CURL_CSELECT_IN : 0) | (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0);
    uv_fileno((uv_handle_t *)poll, &fd);
    curl_multi_socket_action(c->multi, fd, what, &running);
    http_take_messages(c);
}

/* Curl tells what to watch a socket for. */
int http_on_watch(CURL *easy, curl_socket_t fd, int what, void *client, void *socket)
{
    struct http_client *c = client;
    struct http_socket *s = socket;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (s) {
            curl_multi_assign(c->multi, fd, NULL);
            uv_close((uv_handle_t *)&s->poll, on_socket_closed);
        }
        return 0;
    }
    if (!s) {
        s = calloc(1, sizeof(*s));
        if (!s || uv_poll_init(c->loop, &s->poll, fd) != 0) {
            free(s);
            return -1;
        }
        s->poll.data = s;
        s->client = c;
        c->handles++;
        curl_multi_assign(c->multi, fd, s);
    }
    s->events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&s->poll, s->events, on_socket_event) == 0 ? 0 : -1;
}

static void on_timer(uv_timer_t *timer)
{
    struct http_client *c = timer->data;
    int running = 0;
    curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    http_take_messages(c);
}

int http_on_timeout_change(CURLM *multi, long timeout_ms, void *client)
{
    struct http_client *c = client;
    (void)multi;
    if (c->closing) {
        return 0;
    }
    if (timeout_ms < 0) {
        uv_timer_stop(&c->timer);
    } else {
        uv_timer_start(&c->timer, on_timer, (uint64_t)timeout_ms, 0);
    }
    return 0;
}
