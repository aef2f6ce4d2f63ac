/* One client TLS connection without I/O: received bytes come in, bytes for the wire go into a buffer. Internal to net/.
 *
 * `in` is advanced over what was taken. Any failure is final; what was put on the wire before it (an alert) should still be
 * sent. One thread at a time. */
#ifndef NET_TLS_SESSION_H
#define NET_TLS_SESSION_H

#include "base/buffer.h"
#include "net/tls.h"

struct tls_session;

#define TLS_RECORD_MAX 16384u /* plaintext bytes in one record */

/* server_name: host name or address, for SNI (names only) and verification; copied. */
MUST_CHECK enum err tls_session_create(struct tls_context *context, const char *server_name, struct tls_session **out);
/* NULL is allowed. */
void tls_session_destroy(struct tls_session *t);

/* E_OK: complete, the server is who it should be. E_AGAIN: more input is needed. E_TLS_VERIFY, E_TLS, E_REFUSED (the
 * server does not accept our certificate), E_NOMEM. */
MUST_CHECK enum err tls_session_handshake(struct tls_session *t, struct bytes *in, struct buffer *wire);

/* Up to `max` decrypted bytes into `out`; *len says how many, whatever the result. E_OK: `out` is full, more may be there.
 * E_AGAIN: all input was taken. E_CLOSED: close_notify. Else as in the handshake. */
MUST_CHECK enum err tls_session_read(struct tls_session *t, struct bytes *in, struct buffer *wire, uint8_t *out,
                                     size_t max, size_t *len);
/* Encrypts at most TLS_RECORD_MAX bytes, in one record. */
MUST_CHECK enum err tls_session_write(struct tls_session *t, struct bytes data, struct buffer *wire);
/* Puts close_notify on the wire. */
void tls_session_shutdown(struct tls_session *t, struct buffer *wire);

/* What went wrong, in words; "" before that. */
const char *tls_session_detail(const struct tls_session *t);
/* "TLSv1.3 TLS_AES_256_GCM_SHA384", with " resumed" where it is; after the handshake. */
const char *tls_session_security(struct tls_session *t);

#endif
