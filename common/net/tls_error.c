#include "net/tls_internal.h"

#include "base/log.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

/* Alerts that the other side may send (RFC 8446 section 6). */
static const struct {
    int number;
    enum err err;
    const char *words; /* "the <peer> ..." */
} alerts[] = {
    {SSL_AD_HANDSHAKE_FAILURE, E_TLS, "found no common cipher or parameters, or wants a certificate"},
    {SSL_AD_BAD_CERTIFICATE, E_REFUSED, "rejected our certificate"},
    {SSL_AD_UNSUPPORTED_CERTIFICATE, E_REFUSED, "rejected our certificate: unsupported kind"},
    {SSL_AD_CERTIFICATE_REVOKED, E_REFUSED, "rejected our certificate: revoked"},
    {SSL_AD_CERTIFICATE_EXPIRED, E_REFUSED, "rejected our certificate: expired"},
    {SSL_AD_CERTIFICATE_UNKNOWN, E_REFUSED, "rejected our certificate"},
    {SSL_AD_UNKNOWN_CA, E_REFUSED, "rejected our certificate: unknown CA"},
    {SSL_AD_ACCESS_DENIED, E_REFUSED, "rejected our certificate: access denied"},
    {SSL_AD_CERTIFICATE_REQUIRED, E_REFUSED, "wants a certificate and we have none"},
    {SSL_AD_DECRYPT_ERROR, E_TLS, "could not verify a signature of ours"},
    {SSL_AD_PROTOCOL_VERSION, E_TLS, "does not speak our TLS versions"},
    {SSL_AD_INSUFFICIENT_SECURITY, E_TLS, "wants stronger ciphers"},
    {SSL_AD_INTERNAL_ERROR, E_TLS, "had an internal error"},
    {SSL_AD_UNRECOGNIZED_NAME, E_TLS, "does not know the server name"},
    {SSL_AD_UNKNOWN_PSK_IDENTITY, E_REFUSED, "does not know our PSK identity"},
    {SSL_AD_NO_APPLICATION_PROTOCOL, E_TLS, "does not speak our application protocol (ALPN)"},
};

static enum err describe_alert(int number, const char *peer, char *text, size_t size)
{
    const char *name = SSL_alert_desc_string_long(number);
    for (size_t i = 0; i < sizeof(alerts) / sizeof(alerts[0]); i++) {
        if (alerts[i].number == number) {
            snprintf(text, size, "the %s %s (alert %d, %s)", peer, alerts[i].words, number, name);
            return alerts[i].err;
        }
    }
    snprintf(text, size, "the %s ended the connection (alert %d, %s)", peer, number, name);
    return E_TLS;
}

static const char *known_words(unsigned long code)
{
    switch (ERR_GET_REASON(code)) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_RECORD_LENGTH_MISMATCH:
        return "what came is not TLS: is this the right port?";
    case SSL_R_UNSUPPORTED_PROTOCOL:
        return "the peer speaks only TLS versions older than 1.2";
    case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
        return "a record was damaged on the way";
    default:
        return NULL;
    }
}

enum err tls_take_error(const char *peer, char *text, size_t size)
{
    unsigned long code = ERR_peek_last_error();
    unsigned long first = ERR_peek_error();
    ERR_clear_error();
    /* An alert's code is the first of the queue; what we make of it comes after. */
    unsigned long known[2] = {first, code};
    for (size_t i = 0; i < 2; i++) {
        int reason = ERR_GET_REASON(known[i]);
        if (ERR_GET_LIB(known[i]) == ERR_LIB_SSL && reason >= SSL_AD_REASON_OFFSET) {
            return describe_alert(reason - SSL_AD_REASON_OFFSET, peer, text, size);
        }
        const char *words = ERR_GET_LIB(known[i]) == ERR_LIB_SSL ? known_words(known[i]) : NULL;
        if (words) {
            snprintf(text, size, "%s", words);
            return E_TLS;
        }
    }
    const char *reason = ERR_reason_error_string(first);
    snprintf(text, size, "TLS failure: %s", first == 0 ? "unknown" : reason ? reason : "unnamed");
    return E_TLS;
}

void tls_common_name(X509 *cert, char *text, size_t size)
{
    text[0] = '\0';
    X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, text, (int)size);
}

/* For error texts: the certificate of somebody whom we do not trust may say anything. */
static void escape(char *text, size_t size)
{
    char raw[128];
    snprintf(raw, sizeof(raw), "%s", text);
    log_escape(bytes_str(raw), text, size);
}

static void append(char *text, size_t size, const char *more)
{
    size_t len = strlen(text);
    snprintf(text + len, size - len, "%s%s", len > 0 ? ", " : "", more);
}

/* The host names and addresses that a certificate is for; its common name when it lists none. */
static void list_names(X509 *cert, char *text, size_t size)
{
    text[0] = '\0';
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        char one[80] = "";
        if (name->type == GEN_DNS) {
            snprintf(one, sizeof(one), "%.*s", ASN1_STRING_length(name->d.dNSName),
                     (const char *)ASN1_STRING_get0_data(name->d.dNSName));
        } else if (name->type == GEN_IPADD && ASN1_STRING_length(name->d.iPAddress) == 4) {
            const uint8_t *a = ASN1_STRING_get0_data(name->d.iPAddress);
            snprintf(one, sizeof(one), "%u.%u.%u.%u", a[0], a[1], a[2], a[3]);
        } else {
            continue;
        }
        append(text, size, one);
    }
    GENERAL_NAMES_free(names);
    if (text[0] == '\0') {
        tls_common_name(cert, text, size);
    }
}

static void format_time(const ASN1_TIME *time, char *text, size_t size)
{
    struct tm tm;
    if (!ASN1_TIME_to_tm(time, &tm) || strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) {
        snprintf(text, size, "?");
    }
}

/* By our clock. Nobody runs a server for so long with a certificate that has expired. */
static bool expired_long_ago(X509 *cert)
{
    int days = 0;
    int seconds = 0;
    return ASN1_TIME_diff(&days, &seconds, X509_get0_notAfter(cert), NULL) == 1 && days >= 30;
}

void tls_describe_verify(int code, X509 *cert, const char *peer, const char *wanted, char *text, size_t size)
{
    char when[32] = "?";
    char subject[80] = "?";
    char issuer[80] = "?";
    char names[128] = "?";
    if (cert) {
        tls_common_name(cert, subject, sizeof(subject));
        list_names(cert, names, sizeof(names));
        X509_NAME_get_text_by_NID(X509_get_issuer_name(cert), NID_commonName, issuer, sizeof(issuer));
        escape(subject, sizeof(subject));
        escape(names, sizeof(names));
        escape(issuer, sizeof(issuer));
    }
    switch (code) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        format_time(cert ? X509_get0_notAfter(cert) : NULL, when, sizeof(when));
        snprintf(text, size, "certificate '%s' of the %s expired on %s%s", subject, peer, when,
                 cert && expired_long_ago(cert) ? ": is the clock right?" : "");
        return;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        format_time(cert ? X509_get0_notBefore(cert) : NULL, when, sizeof(when));
        snprintf(text, size, "certificate '%s' of the %s is not valid before %s: is the clock right?", subject, peer,
                 when);
        return;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        snprintf(text, size, "certificate of the %s is not for '%.64s' but for %s", peer, wanted, names);
        return;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        snprintf(text, size, "certificate '%s' of the %s is signed by '%s', which is not a CA that we trust", subject,
                 peer, issuer);
        return;
    default:
        snprintf(text, size, "certificate '%s' of the %s was not accepted: %s", subject, peer,
                 X509_verify_cert_error_string(code));
        return;
    }
}
