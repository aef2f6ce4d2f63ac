/* Our side of an HTTP test: a client on a loop of its own, and what its requests came to. */
#ifndef TEST_NET_HTTP_SIDE_H
#define TEST_NET_HTTP_SIDE_H

#include "base/buffer.h"
#include "net/http.h"

struct result {
    unsigned done;
    enum err err;
    int status;
    struct buffer body;
    char detail[300];
    char thing[64];
    bool reached;
    void (*then)(struct result *r); /* called in on_done */
    struct side *side;
};

struct side {
    uv_loop_t loop;
    uv_timer_t guard;
    struct http_client *client;
    bool late;
    uint64_t deadline;
    unsigned closed;
};

void side_init(struct side *s);
void side_init_with(struct side *s, const struct http_client_options *o);
/* Closes the client, and checks that nothing is left on the loop. */
void side_finish(struct side *s);
void side_run_ms(struct side *s, unsigned ms);
/* Until *what is `count`; the test fails after 20 s. */
void side_run_until(struct side *s, const unsigned *what, unsigned count);
/* For http_client_close: counts `closed`. */
void side_on_closed(void *side);
/* For http_request: fills the struct result. Its body, with a NUL behind it, is the test's to finish. */
void side_on_done(void *result, const struct http_answer *a);

/* http://127.0.0.1:port/path, until the fourth next call. */
const char *side_url(uint16_t port, const char *path);
void side_start(struct side *s, struct result *r, const struct http_request_options *o);
/* Starts and waits for the end. */
void side_ask(struct side *s, struct result *r, const struct http_request_options *o);
bool result_has(const struct result *r, const char *text);
/* It failed in this way, with these words in its detail, in capitals or not. */
void result_expect(struct result *r, enum err err, const char *words);
/* Blocks SIGPIPE as our loop threads do, and clears the environment of proxies. */
void side_prepare_process(void);

#endif
