#include "websensor/devices.h"

#include <math.h>
#include <stdlib.h>

enum {
    BUCKETS = 256,
    TAIL = 256,       /* of the original's arrays, to find the overlap */
    OVERLAP_MIN = 4,  /* equal values in a row that cannot be chance */
    SILENCE_MS = 5000 /* a stream without numbers has a gap after this */
};

/* Keeps the signed sums from being rectified; the rule takes the mean off again. */
#define SUMS_OFFSET 1000.0

struct device {
    struct device *next;          /* links the devices of a bucket */
    struct device *older, *newer; /* links all by their last batch */
    char name[INGEST_NAME_MAX + 1];
    uint64_t sender; /* of those without a name */
    struct mono last;
    uint64_t session, seq;
    struct walking stream;
    double tail[TAIL]; /* sums: the last values */
    size_t tail_count;
};

struct devices {
    struct device *buckets[BUCKETS];
    struct device *oldest, *newest;
    size_t count;
    size_t max;
};

enum err devices_create(size_t max, struct devices **out)
{
    struct devices *d = calloc(1, sizeof(*d));
    if (!d) {
        return E_NOMEM;
    }
    d->max = max;
    *out = d;
    return E_OK;
}

static struct device **bucket_of(struct devices *d, const char *name, uint64_t sender)
{
    return &d->buckets[bytes_hash(bytes_str(name), sender) % BUCKETS];
}

static void unlink_age(struct devices *d, struct device *v)
{
    *(v->older ? &v->older->newer : &d->oldest) = v->newer;
    *(v->newer ? &v->newer->older : &d->newest) = v->older;
}

static void link_newest(struct devices *d, struct device *v)
{
    v->older = d->newest;
    v->newer = NULL;
    *(d->newest ? &d->newest->newer : &d->oldest) = v;
    d->newest = v;
}

static void forget(struct devices *d, struct device *v)
{
    struct device **at = bucket_of(d, v->name, v->sender);
    while (*at != v) {
        at = &(*at)->next;
    }
    *at = v->next;
    unlink_age(d, v);
    d->count--;
    free(v);
}

void devices_destroy(struct devices *d)
{
    while (d && d->oldest) {
        forget(d, d->oldest);
    }
    free(d);
}

/* The device, made if it is not known; the newest now. */
static struct device *find(struct devices *d, const char *name, uint64_t sender)
{
    sender = name[0] ? 0 : sender;
    struct device **bucket = bucket_of(d, name, sender);
    for (struct device *v = *bucket; v; v = v->next) {
        if (v->sender == sender && strcmp(v->name, name) == 0) {
            unlink_age(d, v);
            link_newest(d, v);
            return v;
        }
    }
    if (d->count >= d->max) {
        forget(d, d->oldest);
    }
    struct device *v = calloc(1, sizeof(*v));
    if (v) {
        memcpy(v->name, name, strlen(name) + 1);
        v->sender = sender;
        v->next = *bucket;
        *bucket = v;
        link_newest(d, v);
        d->count++;
    }
    return v;
}

/* How many values at the start of the new array are the end of the one before. */
static size_t overlap(const struct device *v, const double *x, size_t count)
{
    size_t most = v->tail_count < count ? v->tail_count : count;
    for (size_t n = most; n >= OVERLAP_MIN; n--) {
        if (memcmp(v->tail + (v->tail_count - n), x, n * sizeof(*x)) == 0) {
            return n;
        }
    }
    return 0;
}

static void keep_tail(struct device *v, const double *x, size_t count)
{
    size_t n = count < TAIL ? count : TAIL;
    memcpy(v->tail, x + (count - n), n * sizeof(*x));
    v->tail_count = n;
}

static enum err take_sums(struct device *v, const struct ingest_walk *w)
{
    static const double zeros[INGEST_SAMPLES_MAX];
    size_t old = overlap(v, w->x, w->count);
    size_t count = w->count - old;
    if (old == 0) {
        walking_reset(&v->stream);
    }
    double *scaled = malloc((count + 1) * sizeof(*scaled));
    if (!scaled) {
        return E_NOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        scaled[i] = SUMS_OFFSET + fmin(fmax(w->x[old + i] / sqrt(3), -SUMS_OFFSET), SUMS_OFFSET);
    }
    enum err e = walking_add(&v->stream, w->rate, scaled, zeros, zeros, count);
    free(scaled);
    keep_tail(v, w->x, w->count);
    return e;
}

static enum err take_axes(struct device *v, const struct ingest_walk *w, struct mono now)
{
    bool follows =
        w->numbered ? v->session == w->session && v->seq + 1 == w->seq : mono_ms_until(v->last, now) < SILENCE_MS;
    if (!follows) {
        walking_reset(&v->stream);
    }
    v->session = w->session;
    v->seq = w->seq;
    return walking_add(&v->stream, w->rate, w->x, w->y, w->z, w->count);
}

enum err devices_judge(struct devices *d, const struct ingest *in, uint64_t sender, bool fresh, struct mono now,
                       struct walking_verdict *out)
{
    const struct ingest_walk *w = &in->walk;
    struct device *v = find(d, w->device, sender);
    enum err e = v ? E_OK : E_NOMEM;
    if (e == E_OK && fresh) {
        e = w->sums ? take_sums(v, w) : take_axes(v, w, now);
        v->last = now;
    }
    if (e == E_OK && walking_now(&v->stream, out) != E_OK) {
        *out = (struct walking_verdict){0};
    }
    return e;
}

enum err devices_message(struct ingest *in, const struct walking_verdict *v)
{
    const struct ingest_walk *w = &in->walk;
    size_t start = in->text.len;
    enum err e = buffer_appendf(
        &in->text, "{\"state\":{\"desired\":{\"acc_avg\":%.4g,\"walking\":%s,\"cadence\":%.1f,\"confidence\":%.2f",
        w->sum / (double)w->count, v->walking ? "true" : "false", v->cadence, v->confidence);
    if (e == E_OK && w->time_ms > 0) {
        e = buffer_appendf(&in->text, ",\"time\":%llu", (unsigned long long)w->time_ms);
    }
    if (e == E_OK) {
        e = buffer_append_str(&in->text, "}}}");
    }
    if (e == E_OK) {
        in->messages[0].payload = start;
        in->messages[0].payload_len = in->text.len - start;
    }
    return e;
}
