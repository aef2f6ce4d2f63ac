/* Publishes that wait for room on the shared link. */
#include "mqttsn/shared.h"

#include <stdlib.h>

void shared_queue_drop(struct shared *s)
{
    while (s->first) {
        struct shared_waiting *w = s->first;
        s->first = w->next;
        free(w);
    }
    s->last = NULL;
    s->queued = s->queued_bytes = 0;
}

enum err shared_queue_add(struct shared *s, const struct session_message *m, uint64_t token)
{
    size_t size = m->topic.len + m->payload.len;
    if (s->queued >= SHARED_QUEUE_MAX || size > SHARED_QUEUE_BYTES_MAX - s->queued_bytes) {
        return E_FULL;
    }
    struct shared_waiting *w = malloc(sizeof(*w) + size);
    if (!w) {
        return E_NOMEM;
    }
    *w = (struct shared_waiting){.token = token,
                                 .topic_len = (uint32_t)m->topic.len,
                                 .payload_len = (uint32_t)m->payload.len,
                                 .qos = m->qos,
                                 .retain = m->retain};
    memcpy(w->bytes, m->topic.data, m->topic.len);
    if (m->payload.len > 0) {
        memcpy(w->bytes + m->topic.len, m->payload.data, m->payload.len);
    }
    *(s->last ? &s->last->next : &s->first) = w;
    s->last = w;
    s->queued++;
    s->queued_bytes += size;
    return E_OK;
}

enum err shared_queue_publish(struct shared *s)
{
    struct shared_waiting *w = s->first;
    struct mqtt_publish p = {.topic = bytes_make(w->bytes, w->topic_len),
                             .payload = bytes_make(w->bytes + w->topic_len, w->payload_len),
                             .qos = w->qos,
                             .retain = w->retain};
    enum err e = uplink_publish(s->gateway->uplink, &p, w->token);
    if (e != E_FULL) {
        s->first = w->next;
        s->last = s->first ? s->last : NULL;
        s->queued--;
        s->queued_bytes -= w->topic_len + w->payload_len;
        free(w);
    }
    return e;
}
