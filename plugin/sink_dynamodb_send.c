#include "plugin/sink_dynamodb_internal.h"

#include <stdio.h>

#define DEADLINE_MS 20000u
#define DEADLINE_BYTES_PER_MS 16u /* slowest uplink that a request is given time for: 16 KB/s */
#define ONE_AT_A_TIME 3u          /* failures in a row after which one connection tries for all */

static enum err build_body(struct ddb_slot *slot)
{
    struct buffer *body = &slot->body;
    buffer_clear(body);
    enum err e = dynamodb_batch_begin(body, bytes_str(slot->table->name));
    for (struct entry *entry = slot->entries; entry && !e; entry = entry->next) {
        e = dynamodb_batch_add(body, entry->item, entry == slot->entries);
    }
    return e ? e : dynamodb_batch_end(body);
}

static void count_sent(struct ddb_slot *slot)
{
    struct sink_stats *stats = slot->sink->host.stats;
    metric_add(&stats->sent, slot->count);
    for (struct entry *e = slot->entries; e; e = e->next) {
        metric_add(&stats->retried, e->sent_before);
        e->sent_before = true;
    }
}

static void on_answer(void *ctx, const struct dynamodb_answer *a)
{
    struct ddb_slot *slot = ctx;
    struct ddb_sink *s = slot->sink;
    slot->request = NULL;
    s->in_flight--;
    ddb_finish(slot, a, mono_now());
    ddb_work(s);
}

/* Sends what the slot holds; on an error everything goes back. */
static bool send_slot(struct ddb_slot *slot, struct mono now)
{
    struct ddb_sink *s = slot->sink;
    enum err e = build_body(slot);
    uint32_t deadline = DEADLINE_MS + (uint32_t)(slot->body.len / DEADLINE_BYTES_PER_MS);
    if (!e) {
        e = dynamodb_call(s->dynamodb, "BatchWriteItem", buffer_bytes(&slot->body), deadline, on_answer, slot,
                          &slot->request);
    }
    if (!e) {
        s->in_flight++;
        slot->sent_at = now;
        count_sent(slot);
        return true;
    }
    ddb_give_back(slot, now);
    if (e == E_AGAIN) {
        s->no_credentials = true;
    } else {
        struct dynamodb_answer local = {.status = 0};
        snprintf(local.type, sizeof(local.type), "%s", err_name(e));
        ddb_note_trouble(s, &local, now);
        ddb_hold(s, now);
    }
    return false;
}

/* May this table send now? *at: when, if only time is missing. */
static bool table_is_due(const struct ddb_sink *s, const struct table *t, struct mono now, struct mono *at)
{
    bool full = t->ready.count >= DYNAMODB_BATCH_MAX || t->ready.bytes >= DDB_BATCH_BYTES;
    *at = MONO_NEVER;
    if ((t->ready.count == 0 && !t->groups) || (t->broken && t->in_flight > 0)) {
        return false;
    }
    struct mono due = t->hold;
    if (!full && !t->groups && !s->stopping) {
        struct mono linger = mono_add_ms(t->ready_since, DDB_LINGER_MS);
        due = due.ns > linger.ns ? due : linger;
    }
    size_t n = t->groups ? t->groups->count : t->ready.count < DYNAMODB_BATCH_MAX ? t->ready.count : DYNAMODB_BATCH_MAX;
    struct mono paced = pace_ready(&t->pace, n, now);
    due = due.ns > paced.ns ? due : paced;
    *at = due;
    return mono_reached(now, due);
}

static struct table *next_table(struct ddb_sink *s, struct mono now)
{
    for (struct table *t = s->window.tables; t; t = t->next) {
        struct mono at;
        if (table_is_due(s, t, now, &at)) {
            return t;
        }
    }
    return NULL;
}

bool ddb_can_send(const struct ddb_sink *s)
{
    size_t allowed = s->failures >= ONE_AT_A_TIME ? 1 : s->connections;
    return s->in_flight < allowed && !s->no_credentials && !s->paused && !s->stopping;
}

static struct ddb_slot *free_slot(struct ddb_sink *s)
{
    size_t i = 0;
    while (s->slots[i].request) {
        i++; /* one is free: fewer are in flight than there are */
    }
    return &s->slots[i];
}

bool ddb_dispatch(struct ddb_sink *s, struct mono now)
{
    bool sent = false;
    while (ddb_can_send(s) && mono_reached(now, s->hold)) {
        struct table *t = next_table(s, now);
        if (!t) {
            break;
        }
        struct ddb_slot *slot = free_slot(s);
        window_rotate(&s->window, t);
        slot->table = t;
        /* while a table's items are refused, one alone tries */
        slot->entries =
            t->groups ? window_send_group(&s->window, t, &slot->count)
                      : window_send(&s->window, t, t->broken ? 1 : DYNAMODB_BATCH_MAX, DDB_BATCH_BYTES, &slot->count);
        pace_take(&t->pace, slot->count, now); /* it was seen to be due */
        if (!send_slot(slot, now)) {
            break;
        }
        sent = true;
    }
    return sent;
}

struct mono ddb_next_dispatch(const struct ddb_sink *s, struct mono now)
{
    struct mono next = MONO_NEVER;
    for (struct table *t = s->window.tables; t; t = t->next) {
        struct mono at;
        table_is_due(s, t, now, &at);
        next = mono_min(next, at);
    }
    return next.ns > s->hold.ns ? next : s->hold;
}

void ddb_cancel_all(struct ddb_sink *s)
{
    for (size_t i = 0; i < DYNAMODB_CONNECTIONS_MAX; i++) {
        struct ddb_slot *slot = &s->slots[i];
        if (slot->request) {
            dynamodb_cancel(slot->request);
            slot->request = NULL;
            s->in_flight--;
        }
    }
}
