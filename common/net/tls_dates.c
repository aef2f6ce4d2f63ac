#include "net/tls_dates.h"

#include "base/log.h"
#include "net/tls_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

LOG_POINT(log_expired, "certificate.expired", LOG_ERROR,
          "a certificate has expired: connections with it are refused until it is renewed (if the clock is right)");
LOG_POINT(log_expires, "certificate.expires", LOG_WARNING, "a certificate expires soon: renew it");
LOG_POINT(log_early, "certificate.not-yet-valid", LOG_WARNING,
          "a certificate is not valid yet: the clock of this machine may be wrong");

#define DAY_MS INT64_C(86400000)
#define CERTIFICATES_MAX 1024u /* of a file; the system's bundle has about 140 */
#define DETAILS_MAX 640

static enum err to_wall(const ASN1_TIME *time, struct wall *out)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(time, &tm) != 1) {
        return E_MALFORMED;
    }
    /* Not by timegm(3): where time_t has 32 bits, 2049, until when AWS IoT's certificates are valid, is in the past. */
    char text[80];
    int n = snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                     tm.tm_hour, tm.tm_min, tm.tm_sec);
    return wall_parse_iso8601(bytes_make(text, (size_t)n), out);
}

static enum err read_one(X509 *cert, struct tls_dates *out)
{
    enum err e = to_wall(X509_get0_notBefore(cert), &out->from);
    e = e ? e : to_wall(X509_get0_notAfter(cert), &out->until);
    tls_common_name(cert, out->subject, sizeof(out->subject));
    return e;
}

enum err tls_dates_read(const char *file, enum tls_dates_of of, struct tls_dates *out)
{
    FILE *f = fopen(file, "re");
    if (!f) {
        return err_from_errno(errno);
    }
    size_t max = of == TLS_DATES_CA ? CERTIFICATES_MAX : 1;
    bool found = false;
    X509 *cert = NULL;
    for (size_t i = 0; i < max && (cert = PEM_read_X509_AUX(f, NULL, NULL, NULL)) != NULL; i++) {
        struct tls_dates one;
        if (read_one(cert, &one) == E_OK && (!found || one.until.ms > out->until.ms)) {
            *out = one;
            found = true;
        }
        X509_free(cert);
    }
    ERR_clear_error();
    fclose(f);
    return found ? E_OK : E_MALFORMED;
}

bool tls_dates_due(struct tls_dates_plan *p, struct mono now, struct wall wall)
{
    int64_t offset_ms = wall.ms - (int64_t)(now.ns / 1000000u);
    if (!mono_reached(now, p->at) && llabs(offset_ms - p->offset_ms) <= TLS_DATES_LEAP_MS) {
        return false;
    }
    *p = (struct tls_dates_plan){.at = mono_add_ms(now, TLS_DATES_INTERVAL_MS), .offset_ms = offset_ms};
    return true;
}

/* What every line says; `date` is "until" or "from". */
static void describe(const char *option, const char *file, const struct tls_dates *d, struct wall now, const char *date,
                     char text[static DETAILS_MAX])
{
    char when[WALL_ISO8601_SIZE];
    char today[WALL_ISO8601_SIZE];
    char subject[160];
    wall_format_iso8601(strcmp(date, "from") == 0 ? d->from : d->until, when);
    wall_format_iso8601(now, today);
    log_escape(bytes_str(d->subject), subject, sizeof(subject));
    snprintf(text, DETAILS_MAX, "option=%s file='%.300s' subject='%s' %s=%.19sZ clock=%.19sZ", option, file, subject,
             date, when, today);
}

uint64_t tls_dates_check(const char *option, const char *file, enum tls_dates_of of, struct wall now)
{
    struct tls_dates d = {.subject = ""};
    char text[DETAILS_MAX];
    if (!file || tls_dates_read(file, of, &d) != E_OK) {
        return TLS_DATES_UNKNOWN;
    }
    int64_t left_ms = d.until.ms - now.ms;
    uint64_t days = left_ms > 0 ? (uint64_t)(left_ms / DAY_MS) : 0;
    if (left_ms < 0) {
        describe(option, file, &d, now, "until", text);
        log_emit(&log_expired, "%s days_ago=%lld", text, (long long)(-left_ms / DAY_MS));
    } else if (now.ms < d.from.ms) {
        describe(option, file, &d, now, "from", text);
        log_emit(&log_early, "%s", text);
    } else if (days < TLS_DATES_WARN_DAYS) {
        describe(option, file, &d, now, "until", text);
        log_emit(&log_expires, "%s days_left=%llu", text, (unsigned long long)days);
    }
    return days;
}
