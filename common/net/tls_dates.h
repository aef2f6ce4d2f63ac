/* The dates of certificate files (OpenSSL behind this door), and the log lines that tell about them in time: whoever runs a
 * gateway for years should not learn from refused connections that a certificate has expired. Any thread; reads the file. */
#ifndef NET_TLS_DATES_H
#define NET_TLS_DATES_H

#include "base/clock.h"
#include "base/err.h"

enum tls_dates_of {
    TLS_DATES_IDENTITY, /* a certificate of ours: the first of the file, those behind it are its chain */
    TLS_DATES_CA,       /* a bundle of CAs: the one that lasts longest; with its end the file trusts nobody */
};

struct tls_dates {
    struct wall from;
    struct wall until;
    char subject[80]; /* the common name; may be "" */
};

/* E_NOT_FOUND, E_ACCESS and the like; E_MALFORMED: no certificate in PEM. */
MUST_CHECK enum err tls_dates_read(const char *file, enum tls_dates_of of, struct tls_dates *out);

/* Warnings begin so long before the end. */
#define TLS_DATES_WARN_DAYS 30
#define TLS_DATES_UNKNOWN UINT64_MAX

/* Logs one line when the certificate has expired, expires within TLS_DATES_WARN_DAYS or is not valid yet (then the clock may be
 * wrong); `option` is what the file was named by. Returns the days that are left (0: less than one, or none), or
 * TLS_DATES_UNKNOWN where the file has no certificate or is NULL: then nothing is logged, whoever uses the file says why. */
uint64_t tls_dates_check(const char *option, const char *file, enum tls_dates_of of, struct wall now);

/* When a program that runs looks again: once a day, and when the wall clock was set by more than TLS_DATES_LEAP_MS. */
#define TLS_DATES_INTERVAL_MS 86400000u
#define TLS_DATES_LEAP_MS 3600000

/* Zeroed: at once. One thread at a time. */
struct tls_dates_plan {
    struct mono at;
    int64_t offset_ms; /* of the wall clock to the monotonic one, at the last look */
};

/* Whether to look now; if so, the next look is planned. */
bool tls_dates_due(struct tls_dates_plan *p, struct mono now, struct wall wall);

#endif
