#include "unit.h"

#include "websensor/access.h"

static struct tokens *read_tokens(const char *text)
{
    struct tokens *t = NULL;
    struct option_error error = {""};
    assert_int_equal(tokens_parse(bytes_str(text), "tokens", &t, &error), E_OK);
    return t;
}

static int check(const struct access_rules *rules, struct access_request rq, const char *topic)
{
    struct ingest in;
    const char *reason = NULL;
    ingest_init(&in, 65536);
    assert_int_equal(ingest_add(&in, bytes_str(topic), BYTES("1")), E_OK);
    int status = access_check(rules, &rq, &in, &reason);
    assert_true(status == 200 || reason);
    ingest_finish(&in);
    return status;
}

#define AUTH(text) ((struct access_request){.authorization = BYTES(text)})

static void tokens(void **state)
{
    (void)state;
    struct tokens *t = read_tokens("# comment\n\nsecret sensors/#\n secret  $aws/things/+/shadow/update\r\nother a/b");
    struct access_rules rules = {.tokens = t};
    assert_int_equal(check(&rules, AUTH("Bearer secret"), "sensors/1"), 200);
    assert_int_equal(check(&rules, AUTH("bearer  secret"), "sensors/1"), 200);
    assert_int_equal(check(&rules, AUTH("Token secret"), "sensors/1"), 200);
    assert_int_equal(check(&rules, AUTH("Basic dTpzZWNyZXQ="), "sensors/1"), 200); /* u:secret */
    assert_int_equal(check(&rules, AUTH("Basic c2VjcmV0Ong="), "sensors/1"), 200); /* secret:x */
    assert_int_equal(check(&rules, AUTH("Bearer secret"), "$aws/things/x/shadow/update"), 200);
    assert_int_equal(check(&rules, AUTH("Bearer other"), "$aws/things/x/shadow/update"), 403);
    assert_int_equal(check(&rules, AUTH("Bearer other"), "sensors/1"), 403);
    assert_int_equal(check(&rules, AUTH("Bearer secre"), "sensors/1"), 401);
    assert_int_equal(check(&rules, AUTH("Bearer secretsecret"), "sensors/1"), 401);
    assert_int_equal(check(&rules, AUTH("Basic !!!"), "sensors/1"), 401);
    assert_int_equal(check(&rules, (struct access_request){.loopback = false}, "sensors/1"), 401);
    tokens_destroy(t);
}

static void anonymous(void **state)
{
    (void)state;
    struct access_rules closed = {0}, open = {.allow_anonymous = true};
    struct access_request local = {.loopback = true, .host = BYTES("localhost:8080")};
    assert_int_equal(check(&closed, (struct access_request){0}, "a"), 401);
    assert_int_equal(check(&open, (struct access_request){0}, "a"), 200);
    assert_int_equal(check(&closed, local, "a"), 200);
    local.origin = BYTES("http://localhost:8080");
    assert_int_equal(check(&closed, local, "a"), 200);
    local.origin = BYTES("https://evil.example");
    assert_int_equal(check(&closed, local, "a"), 403);
    local.host = BYTES("evil.example"); /* its DNS says 127.0.0.1 */
    assert_int_equal(check(&closed, local, "a"), 403);
    local.host = BYTES("127.evil.example");
    local.origin = BYTES("http://127.evil.example");
    assert_int_equal(check(&closed, local, "a"), 403);
    local.host = BYTES("127.0.0.1:8080");
    local.origin = BYTES("http://127.0.0.1:8080");
    assert_int_equal(check(&closed, local, "a"), 200);
    local.origin = BYTES("null");
    assert_int_equal(check(&closed, local, "a"), 403);
    local.origin = (struct bytes){0};
    local.fetch_site = BYTES("cross-site");
    assert_int_equal(check(&closed, local, "a"), 403);
}

static void thingsboard(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *topic; /* NULL = 403 */
    } cases[] = {{"t sensors/roof", "sensors/roof"}, {"t farm/#", "farm/telemetry"}, {"t farm/+", NULL}, {"t #", NULL}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tokens *t = read_tokens(cases[i].line);
        struct access_rules rules = {.tokens = t};
        struct access_request rq = {0};
        struct ingest in;
        const char *reason;
        ingest_init(&in, 65536);
        in.topic_by_token = true;
        assert_int_equal(buffer_append_str(&in.token, "t"), E_OK);
        assert_int_equal(ingest_add(&in, BYTES(""), BYTES("{}")), E_OK);
        assert_int_equal(access_check(&rules, &rq, &in, &reason), cases[i].topic ? 200 : 403);
        if (cases[i].topic) {
            assert_true(bytes_equal(ingest_topic(&in, 0), bytes_str(cases[i].topic)));
            assert_true(bytes_equal(ingest_payload(&in, 0), BYTES("{}")));
        }
        ingest_finish(&in);
        tokens_destroy(t);
    }
}

static void webhook(void **state)
{
    (void)state;
    struct access_rules rules = {.ttn_secret = "hush"};
    struct access_request rq = {.loopback = true};
    struct ingest in;
    const char *reason;
    ingest_init(&in, 65536);
    in.auth = INGEST_AUTH_TTN;
    assert_int_equal(access_check(&rules, &rq, &in, &reason), 401);
    rq.webhook_secret = BYTES("hush");
    assert_int_equal(access_check(&rules, &rq, &in, &reason), 200);
    rq.webhook_secret = BYTES("hus");
    assert_int_equal(access_check(&rules, &rq, &in, &reason), 401);
    rq.authorization = BYTES("Bearer hush");
    assert_int_equal(access_check(&rules, &rq, &in, &reason), 200);
    ingest_finish(&in);
}

static void bad_files(void **state)
{
    (void)state;
    static const char *const texts[] = {"a", "a b c", "a b/#/c", "ok a\nx +y", "a $share/g/x"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct tokens *t;
        struct option_error error = {""};
        assert_int_equal(tokens_parse(bytes_str(texts[i]), "file", &t, &error), E_INVALID);
        assert_non_null(strstr(error.text, i == 3 ? "file:2:" : "file:1:"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens),  cmocka_unit_test(anonymous), cmocka_unit_test(thingsboard),
        cmocka_unit_test(webhook), cmocka_unit_test(bad_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
