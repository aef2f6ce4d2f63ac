/* The variables of a request (RFC 3875, CGI/1.1) turned into an answer: the same for CGI and FastCGI. One thread at a time. */
#ifndef DASHBOARD_GATEWAY_H
#define DASHBOARD_GATEWAY_H

#include "dashboard/api.h"

struct gateway_variables { /* NULL = not set */
    const char *method;
    const char *request_uri; /* as the browser sent it: keeps apart what decoding would mix up */
    const char *script_name;
    const char *path_info; /* only where there is no request_uri */
    const char *query_string;
    const char *if_none_match;
};

/* `api` NULL: the configuration cannot be used, and the answer says so. The error is that of `write`. */
MUST_CHECK enum err gateway_answer(const struct api *api, const struct gateway_variables *v,
                                   enum err (*write)(void *ctx, struct bytes data), void *ctx);

#endif
