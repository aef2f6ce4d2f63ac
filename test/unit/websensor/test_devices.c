#include "unit.h"

#include "websensor/devices.h"

#include <math.h>
#include <stdlib.h>

static void fill(struct ingest *in, const char *device, double rate, size_t first, size_t count, bool sums)
{
    struct ingest_walk *w = &in->walk;
    ingest_init(in, 65536);
    snprintf(w->device, sizeof(w->device), "%s", device);
    w->present = true;
    w->sums = sums;
    w->rate = rate;
    w->count = count;
    w->x = calloc(count, sizeof(double));
    w->y = calloc(count, sizeof(double));
    w->z = calloc(count, sizeof(double));
    for (size_t i = 0; i < count; i++) {
        double step = 4 * sin(2 * M_PI * 1.8 * (double)(first + i) / rate);
        w->x[i] = sums ? step : 0;
        w->z[i] = 9.81 + step;
    }
    assert_int_equal(ingest_add(in, BYTES("t"), BYTES("")), E_OK);
}

static struct walking_verdict batch(struct devices *d, const char *device, size_t first, bool fresh)
{
    struct ingest in;
    struct walking_verdict v;
    fill(&in, device, 60, first, 60, false);
    assert_int_equal(devices_judge(d, &in, 1, fresh, (struct mono){first * 16666666u}, &v), E_OK);
    ingest_finish(&in);
    return v;
}

static void streams(void **state)
{
    (void)state;
    struct devices *d;
    assert_int_equal(devices_create(2, &d), E_OK);
    struct walking_verdict v = {0};
    for (size_t i = 0; i < 6; i++) {
        v = batch(d, "a", i * 60, true);
        assert_true(i > 1 || v.confidence == 0); /* too few yet */
    }
    assert_true(v.walking);
    assert_true(batch(d, "a", 300, false).walking);
    assert_true(batch(d, "b", 0, true).confidence == 0);
    assert_true(batch(d, "c", 0, true).confidence == 0); /* "a" is forgotten */
    assert_true(batch(d, "a", 360, true).confidence == 0);
    devices_destroy(d);
}

/* The original's page: the last 128 sums, each second. */
static void sums(void **state)
{
    (void)state;
    struct devices *d;
    struct walking_verdict v = {0};
    assert_int_equal(devices_create(8, &d), E_OK);
    for (size_t i = 0; i < 6; i++) {
        struct ingest in;
        fill(&in, "", 60, i * 57, 128, true);
        assert_int_equal(devices_judge(d, &in, 7, true, (struct mono){i * 1000000000u}, &v), E_OK);
        ingest_finish(&in);
    }
    assert_true(v.walking);
    assert_true(fabs(v.cadence - 108) < 6);
    devices_destroy(d);
}

static void message(void **state)
{
    (void)state;
    struct ingest in;
    struct walking_verdict v = {.walking = true, .cadence = 108.04, .confidence = 0.9};
    fill(&in, "p", 60, 0, 2, false);
    in.walk.sum = 5;
    in.walk.time_ms = 12;
    assert_int_equal(devices_message(&in, &v), E_OK);
    assert_true(bytes_equal(ingest_payload(&in, 0),
                            BYTES("{\"state\":{\"desired\":{\"acc_avg\":2.5,\"walking\":true,\"cadence\":108.0,"
                                  "\"confidence\":0.90,\"time\":12}}}")));
    assert_true(bytes_equal(ingest_topic(&in, 0), BYTES("t")));
    ingest_finish(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(streams), cmocka_unit_test(sums), cmocka_unit_test(message)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
