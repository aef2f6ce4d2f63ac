/* Reads one JSON object per line (method, path, query, headers [[name, value]...], payload_hash, access_key, secret_key,
 * token, region, service, time in ms) and prints the Authorization header. */
#include "aws/sigv4.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

static const char *text(const cJSON *o, const char *name)
{
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));
    return s ? s : "";
}

static enum err sign_line(const cJSON *o)
{
    struct sigv4_header headers[SIGV4_HEADERS_MAX];
    struct sigv4_request r = {.method = bytes_str(text(o, "method")),
                              .path = bytes_str(text(o, "path")),
                              .query = bytes_str(text(o, "query")),
                              .headers = headers,
                              .payload_hash = text(o, "payload_hash")};
    const cJSON *pair;
    cJSON_ArrayForEach(pair, cJSON_GetObjectItemCaseSensitive(o, "headers"))
    {
        headers[r.header_count++] = (struct sigv4_header){bytes_str(cJSON_GetStringValue(cJSON_GetArrayItem(pair, 0))),
                                                          bytes_str(cJSON_GetStringValue(cJSON_GetArrayItem(pair, 1)))};
    }
    struct sigv4_identity identity = {bytes_str(text(o, "access_key")), bytes_str(text(o, "secret_key")),
                                      bytes_str(text(o, "token"))};
    struct wall now = {(int64_t)cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(o, "time"))};
    struct sigv4_scope scope;
    struct sigv4_signed signature;
    sigv4_signed_init(&signature);
    enum err e = sigv4_scope_init(&scope, text(o, "region"), text(o, "service"));
    if (!e) {
        e = sigv4_sign_headers(&scope, &identity, &r, now, &signature);
        printf("%s\n", e ? err_name(e) : (const char *)signature.authorization.data);
    }
    sigv4_scope_finish(&scope);
    sigv4_signed_finish(&signature);
    return e;
}

int main(void)
{
    char *line = NULL;
    size_t size = 0;
    enum err e = E_OK;
    while (!e && getline(&line, &size, stdin) > 0) {
        cJSON *o = cJSON_Parse(line);
        e = o ? sign_line(o) : E_MALFORMED;
        cJSON_Delete(o);
    }
    free(line);
    return e ? EXIT_FAILURE : EXIT_SUCCESS;
}
