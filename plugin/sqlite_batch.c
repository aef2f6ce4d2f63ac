#include "plugin/sqlite_batch.h"

#include <stdlib.h>

/* Room around the largest message, and what one huge message may leave allocated. */
enum { MESSAGE_SLACK = 64, MESSAGE_KEEP = 1 << 20 };

/* No reason is longer than this. */
enum { REASON_MAX = 512 };

enum err sqlite_batch_init(struct sqlite_batch *b)
{
    *b = (struct sqlite_batch){0};
    buffer_init(&b->texts, (size_t)SQLITE_BATCH_ROWS * REASON_MAX);
    buffer_init(&b->message, SQLITE_STORE_MESSAGE_MAX + MESSAGE_SLACK);
    b->records = calloc(SQLITE_BATCH_ROWS, sizeof(*b->records));
    b->reasons = calloc(SQLITE_BATCH_ROWS, sizeof(*b->reasons));
    if (!b->records || !b->reasons) {
        sqlite_batch_finish(b);
        return E_NOMEM;
    }
    return E_OK;
}

void sqlite_batch_finish(struct sqlite_batch *b)
{
    free(b->records);
    free(b->reasons);
    b->records = NULL;
    b->reasons = NULL;
    buffer_finish(&b->texts);
    buffer_finish(&b->message);
}

void sqlite_batch_add(struct sqlite_batch *b, const struct record *record)
{
    b->records[b->count] = *record;
    b->reasons[b->count] = 0;
    b->count++;
    b->bytes += record->payload.len;
}

void sqlite_batch_clear(struct sqlite_batch *b)
{
    b->count = 0;
    b->bytes = 0;
    buffer_clear(&b->texts);
    if (b->message.cap > MESSAGE_KEEP) {
        buffer_finish(&b->message);
    }
}

static enum err set_reason(struct sqlite_batch *b, size_t i, const char *text)
{
    size_t start = b->texts.len;
    enum err e = buffer_append(&b->texts, bytes_make(text, strlen(text) + 1));
    if (e == E_OK) {
        b->reasons[i] = (uint32_t)start + 1;
    }
    return e;
}

/* E_OK: the row is in the transaction, or has its reason. Otherwise there is no transaction any more. */
static enum err write_row(struct sqlite_batch *b, size_t i, struct sqlite_store *store, struct sqlite_error *error)
{
    const struct record *r = &b->records[i];
    struct measurement_source source = {.topic = r->topic,
                                        .payload = r->payload,
                                        .sensor = r->sensor,
                                        .capture_ms = r->capture_ms,
                                        .time_path = r->time_path,
                                        .message_path = r->message_path};
    struct measurement m;
    struct measurement_error reason;
    enum err e = measurement_make(&source, &b->message, &m, &reason);
    const char *why = reason.text;
    if (e == E_OK) {
        e = sqlite_store_put(store, &m, r->topic, error);
        if (e != E_INVALID && e != E_TOO_LARGE) {
            return e;
        }
        why = error->text;
    }
    if (e == E_INVALID || e == E_TOO_LARGE) {
        e = set_reason(b, i, why);
    }
    if (e != E_OK) {
        *error = (struct sqlite_error){"no memory for a message"};
        sqlite_store_rollback(store);
    }
    return e;
}

enum err sqlite_batch_write(struct sqlite_batch *b, struct sqlite_store *store, struct sqlite_error *error)
{
    enum err e = sqlite_store_begin(store, error);
    buffer_clear(&b->texts);
    for (size_t i = 0; e == E_OK && i < b->count; i++) {
        b->reasons[i] = 0;
        e = write_row(b, i, store, error);
    }
    return e == E_OK ? sqlite_store_commit(store, error) : e;
}

const char *sqlite_batch_reason(const struct sqlite_batch *b, size_t i)
{
    return b->reasons[i] ? (const char *)b->texts.data + b->reasons[i] - 1 : NULL;
}
