#include "websensor/delivery.h"

#include <stdlib.h>

enum { SLOTS = 512 };

#define REASON_NOT_AUTHORIZED 0x87u
#define REASON_QUOTA 0x97u

struct slot {
    struct delivery_job *job; /* NULL: its owner has gone, or the slot is free */
    uint16_t next_free;
};

struct delivery {
    struct uplink *uplink;
    struct delivery_job *first, *last; /* all jobs that are not done */
    struct delivery_job *unsent;       /* the first of them that has messages to send; NULL = none */
    struct slot slots[SLOTS];          /* messages in flight; the token is the slot's number */
    uint16_t free;                     /* list of free slots; SLOTS = none */
    size_t bytes;
    size_t count;
    bool pumping;
};

static void free_all_slots(struct delivery *d)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        d->slots[i] = (struct slot){.next_free = (uint16_t)(i + 1)};
    }
    d->free = 0;
}

enum err delivery_create(struct delivery **out)
{
    struct delivery *d = calloc(1, sizeof(*d));
    if (!d) {
        return E_NOMEM;
    }
    free_all_slots(d);
    *out = d;
    return E_OK;
}

void delivery_destroy(struct delivery *d)
{
    free(d);
}

void delivery_set_uplink(struct delivery *d, struct uplink *u)
{
    d->uplink = u;
}

static void unlink_job(struct delivery *d, struct delivery_job *job)
{
    *(job->previous ? &job->previous->next : &d->first) = job->next;
    *(job->next ? &job->next->previous : &d->last) = job->previous;
    if (d->unsent == job) {
        d->unsent = job->next;
    }
    d->bytes -= job->bytes;
    d->count--;
    job->active = false;
    for (size_t i = 0; job->sent > job->settled && i < SLOTS; i++) {
        if (d->slots[i].job == job) {
            d->slots[i].job = NULL;
            job->settled++;
        }
    }
}

static void end_job(struct delivery *d, struct delivery_job *job, enum delivery_result result)
{
    job->result = result;
    unlink_job(d, job);
    job->on_done(job);
}

static enum delivery_result result_of(enum err e)
{
    switch (e) {
    case E_AGAIN:
        return DELIVERY_AWAY;
    case E_TOO_LARGE:
        return DELIVERY_TOO_LARGE;
    default:
        return DELIVERY_REFUSED;
    }
}

/* Sends the next message of a job. E_FULL: not now. */
static enum err send_one(struct delivery *d, struct delivery_job *job)
{
    const struct ingest *in = job->in;
    struct mqtt_publish p = {.topic = ingest_topic(in, job->sent),
                             .payload = ingest_payload(in, job->sent),
                             .qos = in->qos,
                             .retain = in->retain,
                             .has_message_expiry = in->has_message_expiry,
                             .message_expiry_s = in->message_expiry_s,
                             .content_type = ingest_piece(in, in->content_type),
                             .response_topic = ingest_piece(in, in->response_topic)};
    if (in->qos == 0) {
        enum err e = uplink_publish(d->uplink, &p, 0);
        job->sent += e == E_OK;
        job->settled += e == E_OK;
        return e;
    }
    if (d->free == SLOTS) {
        return E_FULL;
    }
    uint16_t i = d->free;
    enum err e = uplink_publish(d->uplink, &p, i);
    if (e == E_OK) {
        d->free = d->slots[i].next_free;
        d->slots[i].job = job;
        job->sent++;
    }
    return e;
}

/* Sends what the window takes, job by job. `within`: the job that is being submitted, whose owner is not called. */
static void pump(struct delivery *d, struct delivery_job *within)
{
    if (d->pumping) {
        return;
    }
    d->pumping = true;
    while (d->unsent) {
        struct delivery_job *job = d->unsent;
        enum err e = job->sent < job->in->count ? send_one(d, job) : E_OK;
        if (e == E_FULL) {
            break;
        }
        bool failed = e != E_OK;
        bool done = job->settled == job->in->count;
        if (!failed && job->sent < job->in->count) {
            continue;
        }
        d->unsent = job->next;
        if ((failed || done) && job == within) {
            job->result = failed ? result_of(e) : DELIVERY_OK;
            unlink_job(d, job);
        } else if (failed || done) {
            end_job(d, job, failed ? result_of(e) : DELIVERY_OK);
        }
    }
    d->pumping = false;
}

enum err delivery_submit(struct delivery *d, struct delivery_job *job, const struct ingest *in, struct mono now)
{
    void (*on_done)(struct delivery_job *) = job->on_done;
    if (!uplink_is_up(d->uplink)) {
        return E_AGAIN;
    }
    if (in->text.len > DELIVERY_BYTES_MAX - d->bytes) {
        return E_FULL;
    }
    *job = (struct delivery_job){.in = in,
                                 .previous = d->last,
                                 .bytes = in->text.len,
                                 .deadline = mono_add_ms(now, DELIVERY_DEADLINE_MS),
                                 .active = true,
                                 .on_done = on_done};
    *(d->last ? &d->last->next : &d->first) = job;
    d->last = job;
    d->bytes += job->bytes;
    d->count++;
    if (!d->unsent) {
        d->unsent = job;
    }
    pump(d, job);
    return E_OK;
}

void delivery_forget(struct delivery *d, struct delivery_job *job)
{
    if (job->active) {
        unlink_job(d, job);
    }
}

void delivery_on_published(struct delivery *d, uint64_t token, uint8_t reason)
{
    if (token >= SLOTS) {
        return;
    }
    struct slot *slot = &d->slots[token];
    struct delivery_job *job = slot->job;
    slot->job = NULL;
    slot->next_free = d->free;
    d->free = (uint16_t)token;
    if (job) {
        job->settled++;
        if (reason >= MQTT_FAILURE) {
            end_job(d, job,
                    reason == REASON_NOT_AUTHORIZED ? DELIVERY_FORBIDDEN
                    : reason == REASON_QUOTA        ? DELIVERY_AWAY
                                                    : DELIVERY_REFUSED);
        } else if (job->settled == job->in->count) {
            end_job(d, job, DELIVERY_OK);
        }
    }
    pump(d, NULL);
}

void delivery_on_writable(struct delivery *d)
{
    pump(d, NULL);
}

void delivery_on_down(struct delivery *d)
{
    while (d->first) {
        end_job(d, d->first, DELIVERY_AWAY);
    }
    free_all_slots(d);
}

void delivery_tick(struct delivery *d, struct mono now)
{
    while (d->first && mono_reached(now, d->first->deadline)) {
        end_job(d, d->first, DELIVERY_AWAY);
    }
}

size_t delivery_waiting(const struct delivery *d)
{
    return d->count;
}
