/* Our side of a test: a stream on a loop of its own, and what it has told. */
#ifndef TEST_NET_CLIENT_H
#define TEST_NET_CLIENT_H

#include "net/stream.h"

struct client {
    uv_loop_t loop;
    uv_timer_t guard;
    uint64_t deadline;
    bool late;
    struct stream *stream; /* NULL after on_close */
    unsigned opened;
    unsigned closed;
    unsigned drained;
    struct buffer data; /* received */
    enum err reason;
    char detail[512];
    /* Called from the events where set. */
    void (*on_open)(struct client *c);
    void (*on_data)(struct client *c, struct bytes data);
    void (*on_drain)(struct client *c);
    void *user;
};

void client_init(struct client *c);
/* Closes the stream if it is open, and checks that nothing is left on the loop. */
void client_finish(struct client *c);
/* Starts connecting to 127.0.0.1. tls may be NULL. */
void client_connect(struct client *c, uint16_t port, struct tls_context *tls);
void client_connect_with(struct client *c, const struct stream_options *o);

/* Run the loop until it is so, at most 20 s; then the test fails. */
void client_run_until_open(struct client *c);
void client_run_until_closed(struct client *c);
void client_run_until_received(struct client *c, size_t bytes);
void client_run_ms(struct client *c, unsigned ms);

#endif
