/* The dates of certificate files, and what is said about them. */
#include "unit.h"

#include "base/log.h"
#include "net/pki.h"
#include "net/tls_dates.h"

#include <stdio.h>
#include <stdlib.h>

#define DAY INT64_C(86400000)

static char last_line[LOG_LINE_MAX + 1];
static unsigned lines;

static void on_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    snprintf(last_line, sizeof(last_line), "%s", line);
    lines++;
}

static struct wall in_days(int64_t days)
{
    return (struct wall){wall_now().ms + days * DAY};
}

/* What is left, and a line that begins with `id` and contains `detail`; NULL: no line. */
static void expect(const char *file, struct wall now, uint64_t days, const char *id, const char *detail)
{
    lines = 0;
    last_line[0] = '\0';
    assert_int_equal(tls_dates_check("iot_certfile", file, TLS_DATES_IDENTITY, now), days);
    assert_int_equal(lines, id ? 1 : 0);
    if (id && (strncmp(last_line, id, strlen(id)) != 0 || !strstr(last_line, detail))) {
        fail_msg("%s %s: %s", id, detail, last_line);
    }
}

static void test_identity(void **state)
{
    const struct pki *p = *state;
    /* Valid from yesterday, for 30 days from now. */
    const char *file = pki_path(p, "client.pem");
    char text[200];
    snprintf(text, sizeof(text), "option=iot_certfile file='%s' subject='sensor-1' until=2", file);
    expect(file, in_days(0), 29, "certificate.expires: ", text);
    expect(file, in_days(0), 29, "certificate.expires: ", "days_left=29");
    expect(file, (struct wall){in_days(30).ms - 60000}, 0, "certificate.expires: ", "days_left=0");
    expect(file, (struct wall){in_days(30).ms + 60000}, 0, "certificate.expired: ", "days_ago=0");
    expect(file, in_days(400), 0, "certificate.expired: ", "days_ago=3");
    /* A clock that starts in 1970. */
    struct wall early = {0};
    uint64_t left = (uint64_t)(in_days(30).ms / DAY);
    lines = 0;
    assert_in_range(tls_dates_check("o", file, TLS_DATES_IDENTITY, early), left - 1, left);
    assert_int_equal(lines, 1);
    assert_non_null(strstr(last_line, "certificate.not-yet-valid: "));
    assert_non_null(strstr(last_line, "clock=1970-01-01T00:00:00Z"));
}

static void test_limits_of_the_warning(void **state)
{
    struct pki *p = *state;
    pki_issue(p, &(struct pki_certificate){"long", "ca", "long", NULL, -1, 365});
    pki_issue(p, &(struct pki_certificate){"month", "ca", "month", NULL, -1, 31});
    const char *month = pki_path(p, "month.pem");
    expect(pki_path(p, "long.pem"), in_days(0), 364, NULL, NULL);
    pki_issue(p, &(struct pki_certificate){"device", "ca", "device", NULL, -1, 10000}); /* beyond 32 bits of seconds */
    expect(pki_path(p, "device.pem"), in_days(0), 9999, NULL, NULL);
    expect(month, (struct wall){in_days(0).ms - 60000}, 31, NULL, NULL);
    expect(month, (struct wall){in_days(1).ms - 60000}, 30, NULL, NULL);
    expect(month, (struct wall){in_days(1).ms + 60000}, 29, "certificate.expires: ", "days_left=29");
}

static void append(const char *to, const char *from)
{
    char text[8192];
    FILE *f = fopen(from, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof(text), f);
    fclose(f);
    f = fopen(to, "a");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

/* A chain is judged by its first certificate, a bundle of CAs by the one that lasts longest. */
static void test_files_of_several(void **state)
{
    struct pki *p = *state;
    const char *chain = pki_path(p, "chain.pem");
    struct tls_dates d;
    pki_issue(p, &(struct pki_certificate){"leaf", "ca", "leaf", NULL, -1, 90});
    pki_issue(p, &(struct pki_certificate){"oldca", NULL, "Old CA", NULL, -90, -1});
    append(chain, pki_path(p, "leaf.pem"));
    append(chain, pki_path(p, "oldca.pem"));
    append(chain, pki_path(p, "ca.pem"));
    expect(chain, in_days(0), 89, NULL, NULL);
    assert_int_equal(tls_dates_read(chain, TLS_DATES_CA, &d), E_OK);
    assert_string_equal(d.subject, "leaf");
    const char *bundle = pki_path(p, "bundle.pem");
    append(bundle, pki_path(p, "oldca.pem"));
    append(bundle, pki_path(p, "ca.pem"));
    assert_int_equal(tls_dates_read(bundle, TLS_DATES_CA, &d), E_OK);
    assert_string_equal(d.subject, "Test CA");
    assert_int_equal(tls_dates_read(bundle, TLS_DATES_IDENTITY, &d), E_OK);
    assert_string_equal(d.subject, "Old CA");
    assert_true(d.until.ms < wall_now().ms && d.from.ms < d.until.ms);
}

/* Whoever uses the file says what is wrong with it. */
static void test_no_certificate(void **state)
{
    const struct pki *p = *state;
    struct tls_dates d;
    expect(NULL, in_days(0), TLS_DATES_UNKNOWN, NULL, NULL);
    expect(pki_path(p, "none.pem"), in_days(0), TLS_DATES_UNKNOWN, NULL, NULL);
    expect(pki_path(p, "client.key"), in_days(0), TLS_DATES_UNKNOWN, NULL, NULL);
    assert_int_equal(tls_dates_read(pki_path(p, "none.pem"), TLS_DATES_CA, &d), E_NOT_FOUND);
    assert_int_equal(tls_dates_read(pki_path(p, "client.key"), TLS_DATES_CA, &d), E_MALFORMED);
}

/* At first, a day later, when the clock is set, when somebody asks. */
static void test_due(void **state)
{
    struct tls_dates_plan plan = {0};
    const uint64_t up = 1000;
    const int64_t wall = INT64_C(1700000000000);
    (void)state;
#define DUE(ms, ahead) tls_dates_due(&plan, (struct mono){(up + (ms)) * 1000000u}, (struct wall){wall + (ms) + (ahead)})
    assert_true(DUE(0, 0));
    assert_false(DUE(0, 0));
    assert_false(DUE(TLS_DATES_INTERVAL_MS - 1, 60000));
    assert_true(DUE(TLS_DATES_INTERVAL_MS, 0));
    assert_true(DUE(TLS_DATES_INTERVAL_MS + 1000, INT64_C(5) * 365 * DAY));
    assert_false(DUE(TLS_DATES_INTERVAL_MS + 2000, INT64_C(5) * 365 * DAY));
    assert_true(DUE(TLS_DATES_INTERVAL_MS + 3000, -wall));
    plan = (struct tls_dates_plan){0};
    assert_true(DUE(TLS_DATES_INTERVAL_MS + 4000, -wall));
#undef DUE
}

static int setup(void **state)
{
    static struct pki pki;
    pki_create(&pki);
    *state = &pki;
    return 0;
}

static int teardown(void **state)
{
    pki_destroy(*state);
    return 0;
}

int main(void)
{
    log_init(on_log, NULL, LOG_INFO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_limits_of_the_warning),
        cmocka_unit_test(test_files_of_several),
        cmocka_unit_test(test_no_certificate),
        cmocka_unit_test(test_due),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
