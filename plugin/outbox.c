#include "plugin/outbox.h"

#include "base/mailbox.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

LOG_POINT(log_dropped, "log.dropped", LOG_WARNING, "lines did not fit into the queue to the broker");

struct outbox {
    struct mailbox *lines;
    struct mailbox *publishes;
    atomic_uint waiting;   /* letters in both boxes: lets drain return at once */
    atomic_ullong dropped; /* lines that did not fit since the last drain */
};

struct line_letter {
    struct letter letter;
    enum log_level level;
    char text[];
};

/* A publish, whose parts stand behind it in the order of struct outbox_message; or a call. */
struct publish_letter {
    struct letter letter;
    struct outbox_message message;
    void (*done)(void *ctx, enum err); /* NULL = nobody asks; not for calls */
    void (*call)(void *ctx);           /* NULL = a publish */
    void (*cancelled)(void *ctx);      /* of a call */
    void *ctx;
    uint8_t memory[];
};

static void discard_line(struct letter *l)
{
    free(l);
}

static void settle(struct publish_letter *p, enum err e)
{
    if (p->done) {
        p->done(p->ctx, e);
    }
    free(p);
}

static void discard_publish(struct letter *l)
{
    struct publish_letter *p = (struct publish_letter *)(void *)l;
    if (p->cancelled) {
        p->cancelled(p->ctx);
    }
    settle(p, E_CANCELLED);
}

enum err outbox_create(struct outbox **out)
{
    struct outbox *o = calloc(1, sizeof(*o));
    if (!o) {
        return E_NOMEM;
    }
    const struct mailbox_options lines = {
        .max_letters = OUTBOX_LINES, .max_bytes = OUTBOX_LINES * (LOG_LINE_MAX + 64u), .discard = discard_line};
    const struct mailbox_options publishes = {
        .max_letters = OUTBOX_PUBLISHES, .max_bytes = OUTBOX_BYTES, .discard = discard_publish};
    enum err e = mailbox_create(&lines, &o->lines);
    if (!e) {
        e = mailbox_create(&publishes, &o->publishes);
    }
    if (e) {
        outbox_destroy(o);
        return e;
    }
    *out = o;
    return E_OK;
}

void outbox_destroy(struct outbox *o)
{
    if (o) {
        mailbox_destroy(o->lines);
        mailbox_destroy(o->publishes);
        free(o);
    }
}

static enum err put(struct outbox *o, struct mailbox *box, struct letter *l)
{
    atomic_fetch_add(&o->waiting, 1);
    enum err e = mailbox_put(box, l);
    if (e) {
        atomic_fetch_sub(&o->waiting, 1);
    }
    return e;
}

void outbox_log(void *outbox, enum log_level level, const char *line)
{
    struct outbox *o = outbox;
    size_t len = strlen(line) + 1;
    struct line_letter *l = malloc(sizeof(*l) + len);
    if (l) {
        *l = (struct line_letter){.letter = {.size = sizeof(*l) + len}, .level = level};
        memcpy(l->text, line, len);
        if (put(o, o->lines, &l->letter) == E_OK) {
            return;
        }
        free(l);
    }
    atomic_fetch_add(&o->dropped, 1);
}

static void keep(uint8_t **memory, struct bytes *part)
{
    if (part->len > 0) {
        memcpy(*memory, part->data, part->len);
    }
    part->data = *memory;
    *memory += part->len;
}

enum err outbox_publish(struct outbox *o, const struct outbox_message *m, void (*done)(void *ctx, enum err), void *ctx)
{
    size_t len = m->topic.len + m->payload.len + m->content_type.len + m->response_topic.len + m->correlation_data.len +
                 m->user_properties.len;
    struct publish_letter *p = malloc(sizeof(*p) + len);
    if (!p) {
        return E_NOMEM;
    }
    *p = (struct publish_letter){.letter = {.size = sizeof(*p) + len}, .message = *m, .done = done, .ctx = ctx};
    uint8_t *at = p->memory;
    keep(&at, &p->message.topic);
    keep(&at, &p->message.payload);
    keep(&at, &p->message.content_type);
    keep(&at, &p->message.response_topic);
    keep(&at, &p->message.correlation_data);
    keep(&at, &p->message.user_properties);
    enum err e = put(o, o->publishes, &p->letter);
    if (e) {
        free(p);
    }
    return e;
}

enum err outbox_call(struct outbox *o, void (*fn)(void *ctx), void (*cancelled)(void *ctx), void *ctx)
{
    struct publish_letter *p = malloc(sizeof(*p));
    if (!p) {
        return E_NOMEM;
    }
    *p = (struct publish_letter){.letter = {.size = sizeof(*p)}, .call = fn, .cancelled = cancelled, .ctx = ctx};
    enum err e = put(o, o->publishes, &p->letter);
    if (e) {
        free(p);
    }
    return e;
}

static void drain_lines(struct outbox *o, const struct outbox_broker *broker)
{
    for (struct letter *l = mailbox_take(o->lines, 0), *next; l; l = next) {
        const struct line_letter *line = (const struct line_letter *)(const void *)l;
        next = l->next;
        broker->log(broker->ctx, line->level, line->text);
        free(l);
        atomic_fetch_sub(&o->waiting, 1);
    }
    unsigned long long dropped = atomic_exchange(&o->dropped, 0);
    if (dropped > 0) {
        char text[128];
        snprintf(text, sizeof(text), "%s: %s count=%llu", log_dropped.id, log_dropped.text, dropped);
        broker->log(broker->ctx, log_dropped.level, text);
    }
}

static void drain_publishes(struct outbox *o, const struct outbox_broker *broker, size_t max)
{
    for (struct letter *l = mailbox_take(o->publishes, max), *next; l; l = next) {
        struct publish_letter *p = (struct publish_letter *)(void *)l;
        next = l->next;
        enum err e = E_OK;
        if (p->call) {
            p->call(p->ctx);
        } else {
            e = broker->publish(broker->ctx, &p->message);
        }
        atomic_fetch_sub(&o->waiting, 1);
        settle(p, e);
    }
}

/* Not a part of outbox_drain, which is called for each message and finds nothing nearly always. */
static __attribute__((noinline)) void drain(struct outbox *o, const struct outbox_broker *broker, size_t max)
{
    drain_lines(o, broker);
    if (max > 0) {
        drain_publishes(o, broker, max);
    }
}

void outbox_drain(struct outbox *o, const struct outbox_broker *broker, size_t max)
{
    if (atomic_load_explicit(&o->waiting, memory_order_relaxed) > 0) {
        drain(o, broker, max);
    }
}
