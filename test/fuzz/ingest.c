/* Any request (method, target, headers and body separated by newlines): every message that comes out may be published, and
 * what is judged by devices.h and inflated stays within its limits. */
#include "websensor/access.h"
#include "websensor/devices.h"
#include "websensor/inflate.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct bytes take_line(struct bytes *rest)
{
    const uint8_t *end = rest->len > 0 ? memchr(rest->data, '\n', rest->len) : NULL;
    struct bytes line = bytes_sub(*rest, 0, end ? (size_t)(end - rest->data) : rest->len);
    *rest = bytes_sub(*rest, line.len + 1, rest->len);
    return line;
}

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void judge(struct ingest *in)
{
    struct devices *d;
    struct walking_verdict v;
    if (in->walk.present && devices_create(4, &d) == E_OK) {
        require(devices_judge(d, in, 1, true, (struct mono){1}, &v) == E_OK);
        require(devices_message(in, &v) == E_OK);
        devices_destroy(d);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char lines[] = "secret sensors/#\nother a/b\nthird $aws/things/#\n";
    struct bytes rest = bytes_make(data, size);
    struct ingest_request rq = {.walk_topic = "$aws/things/%s/shadow/update", .named_by_token = size % 2};
    struct access_request who = {.loopback = size % 3 == 0};
    struct option_error error;
    struct tokens *tokens = NULL;
    const char *reason = NULL;
    struct ingest in;
    rq.method = take_line(&rest);
    rq.target = take_line(&rest);
    rq.user = rq.limit_user = who.authorization = take_line(&rest);
    rq.limit_device = who.origin = who.host = take_line(&rest);
    rq.body = rest;
    if (tokens_parse(bytes_str(lines), "lines", &tokens, &error) != E_OK) {
        return 0;
    }
    struct access_rules rules = {.tokens = rq.named_by_token ? tokens : NULL, .ttn_secret = "hush"};
    ingest_init(&in, 1 << 20);
    int status = ingest_parse(&rq, &in);
    require(status == 200 || (status >= 400 && in.reason));
    if (status == 200 && access_check(&rules, &who, &in, &reason) == 200) {
        judge(&in);
        for (size_t i = 0; i < in.count; i++) {
            require(ingest_topic_allowed(ingest_topic(&in, i)));
            (void)ingest_payload(&in, i);
        }
    }
    ingest_finish(&in);
    tokens_destroy(tokens);
    struct buffer plain;
    buffer_init(&plain, 65536);
    (void)!inflate_gzip(rest, &plain);
    require(plain.len <= 65536);
    buffer_finish(&plain);
    return 0;
}
