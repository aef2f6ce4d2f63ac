#include "unit.h"

#include "aws/sigv4.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <stdlib.h>

#define EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* 2024-02-29T23:59:59Z: the last second of a leap day. */
#define LEAP_DAY ((struct wall){1709251199000})

static const struct sigv4_identity greenhouse = {
    .access_key = BYTES("AKIAGREENHOUSE"),
    .secret_key = BYTES("s3cr3t/with+slashes="),
    .session_token = BYTES("token/+=="),
};

static const struct sigv4_header dynamodb_headers[] = {
    {BYTES("Host"), BYTES("dynamodb.eu-central-1.amazonaws.com")},
    {BYTES("Content-Type"), BYTES("application/x-amz-json-1.0")},
    {BYTES("X-Amz-Target"), BYTES("DynamoDB_20120810.DescribeTable")},
};

static struct sigv4_request dynamodb_request(const char *payload_hash)
{
    return (struct sigv4_request){.method = BYTES("POST"),
                                  .path = BYTES("/"),
                                  .headers = dynamodb_headers,
                                  .header_count = 3,
                                  .payload_hash = payload_hash};
}

/* Expected values made with botocore 1.29 (SigV4Auth). */
static void test_header_form(void **state)
{
    (void)state;
    struct sigv4_scope scope;
    struct sigv4_signed signature;
    char hash[SIGV4_HASH_HEX_SIZE];
    assert_int_equal(sigv4_scope_init(&scope, "eu-central-1", "dynamodb"), E_OK);
    assert_int_equal(sigv4_hash(BYTES("{\"TableName\":\"greenhouse\"}"), hash), E_OK);
    sigv4_signed_init(&signature);
    struct sigv4_request r = dynamodb_request(hash);
    for (int i = 0; i < 2; i++) { /* the second time with the cached key */
        assert_int_equal(sigv4_sign_headers(&scope, &greenhouse, &r, LEAP_DAY, &signature), E_OK);
        assert_string_equal(signature.date, "20240229T235959Z");
        assert_string_equal((const char *)signature.authorization.data,
                            "AWS4-HMAC-SHA256 Credential=AKIAGREENHOUSE/20240229/eu-central-1/dynamodb/aws4_request, "
                            "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, "
                            "Signature=673e3570687f1b4679139beddf75cedd03131f80dd8512bf02e5a61068951f15");
        assert_true(scope.cached);
    }
    sigv4_signed_finish(&signature);
    sigv4_scope_finish(&scope);
}

static void sign_once(struct sigv4_scope *scope, const struct sigv4_identity *identity, struct wall now, char *out,
                      size_t size)
{
    struct sigv4_signed signature;
    struct sigv4_request r = dynamodb_request(EMPTY_HASH);
    sigv4_signed_init(&signature);
    assert_int_equal(sigv4_sign_headers(scope, identity, &r, now, &signature), E_OK);
    assert_true(signature.authorization.len < size);
    memcpy(out, signature.authorization.data, signature.authorization.len + 1);
    sigv4_signed_finish(&signature);
}

/* The cached key must not outlive its day or its secret. */
static void test_key_cache(void **state)
{
    (void)state;
    struct sigv4_identity other = greenhouse;
    other.secret_key = BYTES("another");
    const struct {
        const struct sigv4_identity *identity;
        struct wall now;
    } steps[] = {
        {&greenhouse, LEAP_DAY},        {&greenhouse, {LEAP_DAY.ms + 1000}},
        {&other, {LEAP_DAY.ms + 1000}}, {&greenhouse, {LEAP_DAY.ms + 1000}},
        {&greenhouse, LEAP_DAY},
    };
    struct sigv4_scope kept;
    assert_int_equal(sigv4_scope_init(&kept, "eu-central-1", "dynamodb"), E_OK);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        char with_cache[1024];
        char without[1024];
        struct sigv4_scope fresh;
        assert_int_equal(sigv4_scope_init(&fresh, "eu-central-1", "dynamodb"), E_OK);
        sign_once(&kept, steps[i].identity, steps[i].now, with_cache, sizeof(with_cache));
        sign_once(&fresh, steps[i].identity, steps[i].now, without, sizeof(without));
        assert_string_equal(with_cache, without);
        sigv4_scope_finish(&fresh);
    }
    sigv4_scope_finish(&kept);
}

static void test_limits(void **state)
{
    (void)state;
    struct sigv4_scope scope;
    assert_int_equal(sigv4_scope_init(&scope, "", "dynamodb"), E_INVALID);
    assert_int_equal(sigv4_scope_init(&scope, NULL, "dynamodb"), E_INVALID);
    assert_int_equal(sigv4_scope_init(&scope, "eu/central", "dynamodb"), E_INVALID);
    char longer[80];
    memset(longer, 'r', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(sigv4_scope_init(&scope, longer, "dynamodb"), E_INVALID);
    assert_int_equal(sigv4_scope_init(&scope, "eu-central-1", "dynamodb"), E_OK);

    struct sigv4_signed signature;
    sigv4_signed_init(&signature);
    struct sigv4_header many[SIGV4_HEADERS_MAX];
    for (size_t i = 0; i < SIGV4_HEADERS_MAX; i++) {
        many[i] = dynamodb_headers[0];
    }
    struct sigv4_request r = dynamodb_request(EMPTY_HASH);
    r.headers = many;
    r.header_count = SIGV4_HEADERS_MAX - 1; /* and two that signing adds */
    assert_int_equal(sigv4_sign_headers(&scope, &greenhouse, &r, LEAP_DAY, &signature), E_TOO_LARGE);
    r.header_count = SIGV4_HEADERS_MAX - 2;
    assert_int_equal(sigv4_sign_headers(&scope, &greenhouse, &r, LEAP_DAY, &signature), E_OK);

    r = dynamodb_request(EMPTY_HASH);
    r.path = BYTES("");
    assert_int_equal(sigv4_sign_headers(&scope, &greenhouse, &r, LEAP_DAY, &signature), E_MALFORMED);

    char *query = malloc(SIGV4_TEXT_MAX);
    assert_non_null(query);
    memset(query, 'q', SIGV4_TEXT_MAX);
    r = dynamodb_request(EMPTY_HASH);
    r.query = bytes_make(query, SIGV4_TEXT_MAX);
    assert_int_equal(sigv4_sign_headers(&scope, &greenhouse, &r, LEAP_DAY, &signature), E_TOO_LARGE);
    for (size_t i = 0; i < 2 * SIGV4_PARAMETERS_MAX; i += 2) {
        memcpy(query + i, "q&", 2);
    }
    r.query = bytes_make(query, 2 * SIGV4_PARAMETERS_MAX);
    assert_int_equal(sigv4_sign_headers(&scope, &greenhouse, &r, LEAP_DAY, &signature), E_OK);
    r.query.len++;
    assert_int_equal(sigv4_sign_headers(&scope, &greenhouse, &r, LEAP_DAY, &signature), E_TOO_LARGE);
    free(query);
    assert_int_equal(sigv4_sign_headers(&scope, &greenhouse, &r, (struct wall){-1}, &signature), E_INVALID);
    sigv4_signed_finish(&signature);
    sigv4_scope_finish(&scope);
}

/* AWS's own vectors. */

static char *read_file(const char *folder, const char *name)
{
    char path[1024];
    snprintf(path, sizeof(path), "%s/%s/%s", VECTORS, folder, name);
    FILE *f = fopen(path, "rb");
    if (!f) {
        return NULL;
    }
    char *text = calloc(1, 65536);
    assert_non_null(text);
    size_t len = fread(text, 1, 65535, f);
    text[len] = '\0';
    fclose(f);
    return text;
}

/* Request text of the vectors, taken apart in place. */
struct vector {
    char *text;
    struct sigv4_header headers[SIGV4_HEADERS_MAX];
    char extra[SIGV4_HASH_HEX_SIZE];
    struct sigv4_request request;
};

static void parse_request_line(struct vector *v, char *line)
{
    char *target = strchr(line, ' ');
    assert_non_null(target);
    *target++ = '\0';
    char *version = strstr(target, " HTTP/1.1");
    assert_non_null(version);
    *version = '\0';
    char *query = strchr(target, '?');
    if (query) {
        *query++ = '\0';
    }
    v->request.method = bytes_str(line);
    v->request.path = bytes_str(target);
    v->request.query = bytes_str(query);
}

/* Lines that begin with a blank continue the header before them. */
static void parse_headers(struct vector *v, char *line, char **body)
{
    size_t n = 0;
    while (line && *line != '\n' && *line) {
        char *end = line;
        do {
            end = strchr(end + 1, '\n');
        } while (end && (end[1] == ' ' || end[1] == '\t'));
        if (end) {
            *end = '\0';
        }
        char *colon = strchr(line, ':');
        assert_non_null(colon);
        v->headers[n++] = (struct sigv4_header){bytes_make(line, (size_t)(colon - line)), bytes_str(colon + 1)};
        line = end ? end + 1 : NULL;
    }
    *body = line && *line == '\n' ? line + 1 : NULL;
    v->request.headers = v->headers;
    v->request.header_count = n;
}

static void parse_vector(struct vector *v, const char *folder, bool sign_body)
{
    v->text = read_file(folder, "request.txt");
    assert_non_null(v->text);
    char *first_end = strchr(v->text, '\n');
    assert_non_null(first_end);
    *first_end = '\0';
    char *body = NULL;
    parse_request_line(v, v->text);
    parse_headers(v, first_end + 1, &body);
    assert_int_equal(sigv4_hash(bytes_str(body), v->extra), E_OK);
    v->request.payload_hash = v->extra;
    if (sign_body) {
        v->headers[v->request.header_count++] =
            (struct sigv4_header){BYTES("x-amz-content-sha256"), bytes_str(v->extra)};
    }
}

static struct bytes member(const cJSON *object, const char *name)
{
    return bytes_str(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name)));
}

static void assert_file(const char *folder, const char *name, struct bytes got)
{
    char *expected = read_file(folder, name);
    assert_non_null(expected);
    if (!bytes_equal(bytes_str(expected), got)) {
        fail_msg("%s/%s: expected\n%s\ngot\n%.*s", folder, name, expected, (int)got.len, (const char *)got.data);
    }
    free(expected);
}

static void run_vector(const char *folder)
{
    char *context_text = read_file(folder, "context.json");
    cJSON *context = cJSON_Parse(context_text);
    assert_non_null(context);
    const cJSON *credentials = cJSON_GetObjectItemCaseSensitive(context, "credentials");
    struct sigv4_identity identity = {member(credentials, "access_key_id"), member(credentials, "secret_access_key"),
                                      member(credentials, "token")};
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(context, "omit_session_token"))) {
        identity.session_token.len = 0;
    }
    struct vector v = {.text = NULL};
    parse_vector(&v, folder, cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(context, "sign_body")));
    v.request.keep_path = cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(context, "normalize"));
    struct wall now;
    struct sigv4_scope scope;
    struct sigv4_signed signature;
    struct buffer canonical;
    struct buffer to_sign;
    buffer_init(&canonical, SIGV4_TEXT_MAX);
    buffer_init(&to_sign, SIGV4_TEXT_MAX);
    sigv4_signed_init(&signature);
    assert_int_equal(wall_parse_iso8601(member(context, "timestamp"), &now), E_OK);
    assert_int_equal(sigv4_scope_init(&scope, (const char *)member(context, "region").data,
                                      (const char *)member(context, "service").data),
                     E_OK);
    assert_int_equal(sigv4_canonical_request(&identity, &v.request, now, &canonical), E_OK);
    assert_file(folder, "header-canonical-request.txt", buffer_bytes(&canonical));
    assert_int_equal(sigv4_string_to_sign(&scope, buffer_bytes(&canonical), now, &to_sign), E_OK);
    assert_file(folder, "header-string-to-sign.txt", buffer_bytes(&to_sign));
    assert_int_equal(sigv4_sign_headers(&scope, &identity, &v.request, now, &signature), E_OK);
    const char *hex = strstr((const char *)signature.authorization.data, "Signature=");
    assert_non_null(hex);
    assert_file(folder, "header-signature.txt", bytes_str(hex + strlen("Signature=")));
    char *signed_request = read_file(folder, "header-signed-request.txt");
    assert_non_null(strstr(signed_request, (const char *)signature.authorization.data));
    free(signed_request);
    sigv4_signed_finish(&signature);
    sigv4_scope_finish(&scope);
    buffer_finish(&canonical);
    buffer_finish(&to_sign);
    cJSON_Delete(context);
    free(context_text);
    free(v.text);
}

static void test_vectors_of_aws(void **state)
{
    (void)state;
    DIR *dir = opendir(VECTORS);
    if (!dir) {
        print_message("no vectors at %s: put AWS's signing vectors there to run this test\n", VECTORS);
        skip();
    }
    size_t count = 0;
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        if (e->d_name[0] != '.') {
            run_vector(e->d_name);
            count++;
        }
    }
    closedir(dir);
    print_message("%zu vectors\n", count);
    assert_true(count >= 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_form),
        cmocka_unit_test(test_key_cache),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_vectors_of_aws),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
