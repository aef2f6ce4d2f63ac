#include "base/err.h"

#include <errno.h>
#include <stddef.h>

static const char *const names[E_COUNT_] = {
    [E_OK] = "ok",
    [E_NOMEM] = "no-memory",
    [E_INVALID] = "invalid",
    [E_MALFORMED] = "malformed",
    [E_TOO_LARGE] = "too-large",
    [E_FULL] = "full",
    [E_AGAIN] = "again",
    [E_NOT_FOUND] = "not-found",
    [E_EXISTS] = "exists",
    [E_ACCESS] = "access",
    [E_NO_SPACE] = "no-space",
    [E_READ_ONLY] = "read-only",
    [E_IO] = "io",
    [E_CORRUPT] = "corrupt",
    [E_VERSION] = "version",
    [E_BUSY] = "busy",
    [E_TIMEOUT] = "timeout",
    [E_CANCELLED] = "cancelled",
    [E_CLOSED] = "closed",
    [E_RESET] = "reset",
    [E_UNREACHABLE] = "unreachable",
    [E_DNS] = "dns",
    [E_TLS] = "tls",
    [E_TLS_VERIFY] = "tls-verify",
    [E_PROTOCOL] = "protocol",
    [E_REFUSED] = "refused",
    [E_UNSUPPORTED] = "unsupported",
};

static const struct {
    int errnum;
    enum err err;
} from_errno[] = {
    {ENOMEM, E_NOMEM},
    {EINVAL, E_INVALID},
    {ENOENT, E_NOT_FOUND},
    {ENOTDIR, E_NOT_FOUND},
    {EEXIST, E_EXISTS},
    {EACCES, E_ACCESS},
    {EPERM, E_ACCESS},
    {ENOSPC, E_NO_SPACE},
    {EDQUOT, E_NO_SPACE},
    {EROFS, E_READ_ONLY},
    {EBUSY, E_BUSY},
    {EAGAIN, E_AGAIN},
    {ETIMEDOUT, E_TIMEOUT},
    {ECANCELED, E_CANCELLED},
    {ECONNRESET, E_RESET},
    {EPIPE, E_RESET},
    {ECONNABORTED, E_RESET},
    {ECONNREFUSED, E_UNREACHABLE},
    {EHOSTUNREACH, E_UNREACHABLE},
    {ENETUNREACH, E_UNREACHABLE},
    {ENETDOWN, E_UNREACHABLE},
    {EFBIG, E_TOO_LARGE},
};

const char *err_name(enum err e)
{
    return (unsigned)e < E_COUNT_ ? names[e] : "unknown";
}

enum err err_from_errno(int errnum)
{
    if (errnum == 0) {
        return E_OK;
    }
    for (size_t i = 0; i < sizeof(from_errno) / sizeof(from_errno[0]); i++) {
        if (from_errno[i].errnum == errnum) {
            return from_errno[i].err;
        }
    }
    return E_IO;
}
