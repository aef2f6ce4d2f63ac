/* plugin/rejected.h: files of what can never be delivered. */
#include "unit.h"

#include "base/log.h"
#include "plugin/rejected.h"
#include "plugin/rejected_json.h"
#include "spool_fixture.h"

#include <cJSON.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct world {
    struct fixture f; /* for its folder */
    struct rejected *r;
    unsigned listed;
    uint64_t last;
};

static void ignore_line(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    (void)line;
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    fixture_init(&w->f);
    assert_int_equal(mkdir(w->f.dir, 0700), 0);
    assert_int_equal(rejected_open(w->f.dir, &w->r), E_OK);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    rejected_close(w->r);
    fixture_finish(&w->f);
    free(w);
    return 0;
}

static void reopen(struct world *w)
{
    rejected_close(w->r);
    assert_int_equal(rejected_open(w->f.dir, &w->r), E_OK);
}

static struct record plain(uint64_t sequence)
{
    return (struct record){.sequence = sequence,
                           .capture_ms = 1700000000123,
                           .sinks = 7,
                           .qos = 1,
                           .topic = BYTES("a/b"),
                           .payload = BYTES("{\"t\": \"\xc3\xa4\"}")};
}

static struct record with_everything(uint64_t sequence)
{
    struct record r = plain(sequence);
    r.qos = 2;
    r.remote_qos = 1;
    r.retain = true;
    r.payload_format = 1;
    r.payload = BYTES("\0binary\xff");
    r.remote_topic = BYTES("remote");
    r.client_id = BYTES("client \"quoted\" \\");
    r.content_type = BYTES("text/plain");
    r.response_topic = BYTES("r");
    r.correlation_data = BYTES("\1\2\3");
    r.user_properties = BYTES("\0\1a\0\1b");
    r.sensor = BYTES("s");
    r.time_path = BYTES("t");
    r.message_path = BYTES("m");
    r.table = BYTES("table");
    return r;
}

static void expect_back(struct world *w, const char *name, const struct record *in, enum sink_id sink)
{
    struct buffer memory;
    struct record out;
    enum sink_id id;
    buffer_init(&memory, 1 << 20);
    assert_int_equal(rejected_get(w->r, name, &memory, &out, &id), E_OK);
    assert_int_equal(id, sink);
    assert_int_equal(out.sinks, SINK_BIT(sink));
    assert_true(out.sequence == in->sequence && out.capture_ms == in->capture_ms);
    assert_true(out.qos == in->qos && out.remote_qos == in->remote_qos && out.retain == in->retain);
    assert_int_equal(out.payload_format, in->payload_format);
    for (const struct bytes *x = &in->topic, *y = &out.topic; x <= &in->table; x++, y++) {
        assert_true(bytes_equal(*x, *y));
    }
    buffer_finish(&memory);
}

static void there_and_back(void **state)
{
    struct world *w = *state;
    struct record simple = plain(5);
    struct record full = with_everything(77);
    struct record empty = {.topic = BYTES("x")};
    assert_int_equal(rejected_put(w->r, SINK_IOTCORE, &simple, "too large"), E_OK);
    assert_int_equal(rejected_put(w->r, SINK_SQLITE, &full, "no such member"), E_OK);
    assert_int_equal(rejected_put(w->r, SINK_DYNAMODB, &empty, "why \"not\""), E_OK);
    assert_int_equal(rejected_count(w->r), 3);
    reopen(w);
    assert_int_equal(rejected_count(w->r), 3);
    expect_back(w, "5-iotcore.json", &simple, SINK_IOTCORE);
    expect_back(w, "77-sqlite.json", &full, SINK_SQLITE);
    expect_back(w, "0-dynamodb.json", &empty, SINK_DYNAMODB);
}

static bool check_first(void *ctx, const char *name, struct bytes json)
{
    struct world *w = ctx;
    cJSON *o = cJSON_ParseWithLength((const char *)json.data, json.len);
    assert_string_equal(name, "5-iotcore.json");
    assert_string_equal(cJSON_GetObjectItem(o, "sink")->valuestring, "iotcore");
    assert_string_equal(cJSON_GetObjectItem(o, "reason")->valuestring, "too large");
    assert_string_equal(cJSON_GetObjectItem(o, "captured")->valuestring, "2023-11-14T22:13:20.123Z");
    assert_string_equal(cJSON_GetObjectItem(o, "topic")->valuestring, "a/b");
    assert_string_equal(cJSON_GetObjectItem(o, "payload")->valuestring, "{\"t\": \"\xc3\xa4\"}");
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(o, "retain")));
    cJSON_Delete(o);
    w->listed++;
    return false;
}

static void a_file_reads_well(void **state)
{
    struct world *w = *state;
    struct record simple = plain(5);
    struct record later = plain(50);
    assert_int_equal(rejected_put(w->r, SINK_IOTCORE, &later, "x"), E_OK);
    assert_int_equal(rejected_put(w->r, SINK_IOTCORE, &simple, "too large"), E_OK);
    rejected_list(w->r, check_first, w);
    assert_int_equal(w->listed, 1);
}

static void the_same_record_twice(void **state)
{
    struct world *w = *state;
    struct record r = plain(5);
    assert_int_equal(rejected_put(w->r, SINK_IOTCORE, &r, "x"), E_OK);
    assert_int_equal(rejected_put(w->r, SINK_IOTCORE, &r, "again"), E_OK);
    assert_int_equal(rejected_put(w->r, SINK_SQLITE, &r, "there, too"), E_OK);
    assert_int_equal(rejected_count(w->r), 2);
}

static void drop(void **state)
{
    struct world *w = *state;
    struct record r = plain(5);
    struct buffer memory;
    enum sink_id id;
    buffer_init(&memory, 1 << 20);
    assert_int_equal(rejected_put(w->r, SINK_IOTCORE, &r, "x"), E_OK);
    assert_int_equal(rejected_drop(w->r, "5-iotcore.json"), E_OK);
    assert_int_equal(rejected_drop(w->r, "5-iotcore.json"), E_NOT_FOUND);
    assert_int_equal(rejected_get(w->r, "5-iotcore.json", &memory, &r, &id), E_NOT_FOUND);
    assert_int_equal(rejected_count(w->r), 0);
    static const char *const bad[] = {"../lock",
                                      "05-iotcore.json",
                                      "5-nobody.json",
                                      "5-iotcore",
                                      "",
                                      "-iotcore.json",
                                      "+5-iotcore.json",
                                      "5-iotcore.json/x",
                                      "5-.json",
                                      "5-iotcore.jsonx",
                                      "99999999999999999999-iotcore.json"};
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(rejected_drop(w->r, bad[i]), E_NOT_FOUND);
        assert_int_equal(rejected_get(w->r, bad[i], &memory, &r, &id), E_NOT_FOUND);
    }
    buffer_finish(&memory);
}

static bool ascending(void *ctx, const char *name, struct bytes json)
{
    struct world *w = ctx;
    uint64_t n = strtoull(name, NULL, 10);
    assert_true(json.len > 10 && n > w->last);
    w->last = n;
    w->listed++;
    return true;
}

static void ceiling_of_files(void **state)
{
    struct world *w = *state;
    for (uint64_t n = 1; n <= REJECTED_MAX_FILES + 20; n++) {
        struct record r = plain(n * 7 % 1021 + 1); /* in no order */
        assert_int_equal(rejected_put(w->r, SINK_IOTCORE, &r, "x"), E_OK);
        assert_true(rejected_count(w->r) <= REJECTED_MAX_FILES);
    }
    assert_int_equal(rejected_count(w->r), REJECTED_MAX_FILES);
    reopen(w);
    assert_int_equal(rejected_count(w->r), REJECTED_MAX_FILES);
    rejected_list(w->r, ascending, w);
    assert_int_equal(w->listed, REJECTED_MAX_FILES);
}

static void ceiling_of_bytes(void **state)
{
    struct world *w = *state;
    size_t size = 8u << 20;
    uint8_t *big = malloc(size);
    memset(big, '"', size); /* doubles in JSON */
    for (uint64_t n = 1; n <= 6; n++) {
        struct record r = plain(n);
        r.payload = bytes_make(big, size);
        assert_int_equal(rejected_put(w->r, SINK_IOTCORE, &r, "x"), E_OK);
    }
    assert_int_equal(rejected_count(w->r), 3);
    memset(big, 1, size); /* would grow to six times as much as text */
    struct record r = plain(7);
    r.payload = bytes_make(big, size);
    assert_int_equal(rejected_put(w->r, SINK_IOTCORE, &r, "x"), E_OK);
    struct buffer memory;
    struct record out;
    enum sink_id id;
    buffer_init(&memory, REJECTED_MAX_BYTES);
    assert_int_equal(rejected_get(w->r, "7-iotcore.json", &memory, &out, &id), E_OK);
    assert_true(bytes_equal(out.payload, r.payload));
    buffer_finish(&memory);
    buffer_init(&memory, 1000);
    assert_int_equal(rejected_get(w->r, "7-iotcore.json", &memory, &out, &id), E_FULL);
    buffer_finish(&memory);
    free(big);
}

static void files_of_others(void **state)
{
    struct world *w = *state;
    char path[FIXTURE_PATH_SIZE + 32];
    static const char *const texts[] = {"",
                                        "{}",
                                        "[]",
                                        "{\"sink\":\"iotcore\"}",
                                        "not json",
                                        "\"text\"",
                                        "nul",
                                        "{\"sink\":5}",
                                        "{\"sink\":\"iotcore\",\"retain\":false,\"qos\":9}"};
    struct buffer memory;
    struct record r;
    enum sink_id id;
    buffer_init(&memory, 1 << 20);
    snprintf(path, sizeof(path), "%s/rejected/new.tmp", w->f.dir);
    fixture_write(path, "half", 4);
    snprintf(path, sizeof(path), "%s/rejected/README", w->f.dir);
    fixture_write(path, "mine", 4);
    snprintf(path, sizeof(path), "%s/rejected/5-iotcore.json", w->f.dir);
    for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        fixture_write(path, texts[i], strlen(texts[i]));
        reopen(w);
        assert_int_equal(rejected_count(w->r), 1);
        assert_int_equal(rejected_get(w->r, "5-iotcore.json", &memory, &r, &id), E_MALFORMED);
    }
    buffer_finish(&memory);
    snprintf(path, sizeof(path), "%s/rejected/new.tmp", w->f.dir);
    assert_int_equal(access(path, F_OK), -1);
    snprintf(path, sizeof(path), "%s/rejected/README", w->f.dir);
    assert_int_equal(access(path, F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(there_and_back),   TEST(a_file_reads_well), TEST(the_same_record_twice), TEST(drop),
        TEST(ceiling_of_files), TEST(ceiling_of_bytes),  TEST(files_of_others),
    };
    log_init(ignore_line, NULL, LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
