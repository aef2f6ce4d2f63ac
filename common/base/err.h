/* Error codes of all our code.
 *
 * One enum; 0 is success. Foreign codes (errno, OpenSSL, curl, SQLite, libuv) are converted and logged once,
 * at the door where they enter. Functions that can fail return the code and give their result through
 * out-parameters, which are untouched on failure unless the header says otherwise.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#define MUST_CHECK __attribute__((warn_unused_result))

enum err {
    E_OK = 0,
    E_NOMEM,       /* no memory */
    E_INVALID,     /* an argument or a configured value is wrong */
    E_MALFORMED,   /* bytes from outside break their format */
    E_TOO_LARGE,   /* over a limit that does not change by waiting */
    E_FULL,        /* a queue, buffer or table is at its ceiling: may succeed later */
    E_AGAIN,       /* not yet: more input, or a later call, is needed */
    E_NOT_FOUND,   /* no such thing */
    E_EXISTS,      /* already there, or a second one where one is allowed */
    E_ACCESS,      /* permission denied */
    E_NO_SPACE,    /* disk full or quota reached */
    E_READ_ONLY,   /* file system is read-only */
    E_IO,          /* any other failure of a file or device */
    E_CORRUPT,     /* stored bytes fail their checksum or contradict one another */
    E_VERSION,     /* format or protocol version that we do not speak */
    E_BUSY,        /* locked or in use by somebody else */
    E_TIMEOUT,     /* the deadline passed */
    E_CANCELLED,   /* stopped by the caller */
    E_CLOSED,      /* the peer closed the connection in good order */
    E_RESET,       /* the connection broke */
    E_UNREACHABLE, /* refused, no route, network down */
    E_DNS,         /* the host name did not resolve */
    E_TLS,         /* handshake or record failure */
    E_TLS_VERIFY,  /* the peer's certificate was not accepted */
    E_PROTOCOL,    /* the peer broke the protocol */
    E_REFUSED,     /* the peer understood and said no */
    E_UNSUPPORTED, /* known, and not available here */
    E_COUNT_       /* number of codes; not a code */
};

/* A short lower-case name ("no-space"), for logs. Never NULL. Any thread. */
const char *err_name(enum err e);

/* The code that fits an errno value; E_IO for what has no better one. Any thread. */
enum err err_from_errno(int errnum);

#endif
