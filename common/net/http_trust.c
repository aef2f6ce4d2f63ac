#include "net/http_trust.h"

#include <stdlib.h>

enum err http_trust_init(struct http_trust *t, const struct http_client_options *o)
{
    const char *const files[HTTP_TRUST_FILES] = {o->certfile, o->keyfile, o->cafile};
    *t = (struct http_trust){.tls = NULL};
    for (size_t i = 0; i < HTTP_TRUST_FILES; i++) {
        t->files[i] = files[i] ? strdup(files[i]) : NULL;
        if (files[i] && !t->files[i]) {
            http_trust_finish(t);
            return E_NOMEM;
        }
    }
    return E_OK;
}

void http_trust_finish(struct http_trust *t)
{
    for (size_t i = 0; i < HTTP_TRUST_FILES; i++) {
        free(t->files[i]);
    }
    tls_unref(t->tls);
    *t = (struct http_trust){.tls = NULL};
}

/* When the files were last written or replaced; zero for one that cannot be looked at. */
static void look(const struct http_trust *t, struct timespec changed[HTTP_TRUST_FILES])
{
    for (size_t i = 0; i < HTTP_TRUST_FILES; i++) {
        struct stat st;
        bool seen = t->files[i] && stat(t->files[i], &st) == 0;
        changed[i] = seen ? st.st_ctim : (struct timespec){.tv_sec = 0};
    }
}

static bool is_same(const struct timespec *a, const struct timespec *b)
{
    for (size_t i = 0; i < HTTP_TRUST_FILES; i++) {
        if (a[i].tv_sec != b[i].tv_sec || a[i].tv_nsec != b[i].tv_nsec) {
            return false;
        }
    }
    return true;
}

enum err http_trust_get(struct http_trust *t, struct tls_context **out, struct tls_error *error)
{
    struct timespec changed[HTTP_TRUST_FILES];
    look(t, changed);
    if (!t->tls || !is_same(changed, t->changed)) {
        struct tls_options o = {
            .certfile = t->files[0], .keyfile = t->files[1], .cafile = t->files[2], .alpn = "http/1.1"};
        struct tls_context *tls = NULL;
        enum err e = tls_client_create(&o, &tls, error);
        if (e != E_OK) {
            return e;
        }
        tls_unref(t->tls);
        t->tls = tls;
        memcpy(t->changed, changed, sizeof(t->changed));
    }
    *out = t->tls;
    return E_OK;
}
