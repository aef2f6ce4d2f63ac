#define _GNU_SOURCE /* memmem, memrchr */

#include "aws/dynamodb_answer.h"

#include "base/json.h"
#include "base/log.h"

#include <stdio.h>

#define DEPTH_MAX 16u

static const struct {
    const char *type;
    enum dynamodb_outcome outcome;
} types[] = {
    {"AccessDenied", DYNAMODB_CONFIGURATION},
    {"AccessDeniedException", DYNAMODB_CONFIGURATION},
    {"ExpiredToken", DYNAMODB_CREDENTIALS},
    {"ExpiredTokenException", DYNAMODB_CREDENTIALS},
    {"IncompleteSignature", DYNAMODB_CONFIGURATION},
    {"IncompleteSignatureException", DYNAMODB_CONFIGURATION},
    {"InternalFailure", DYNAMODB_TRANSIENT},
    {"InternalServerError", DYNAMODB_TRANSIENT},
    {"InvalidClientTokenId", DYNAMODB_CREDENTIALS},
    {"InvalidSignatureException", DYNAMODB_CONFIGURATION},
    {"ItemCollectionSizeLimitExceededException", DYNAMODB_INVALID},
    {"LimitExceededException", DYNAMODB_THROTTLED},
    {"MissingAuthenticationToken", DYNAMODB_CONFIGURATION},
    {"MissingAuthenticationTokenException", DYNAMODB_CONFIGURATION},
    {"PriorRequestNotComplete", DYNAMODB_TRANSIENT},
    {"ProvisionedThroughputExceededException", DYNAMODB_THROTTLED},
    {"ReplicatedWriteConflictException", DYNAMODB_TRANSIENT},
    {"RequestExpired", DYNAMODB_CONFIGURATION},
    {"RequestInTheFuture", DYNAMODB_CONFIGURATION},
    {"RequestLimitExceeded", DYNAMODB_THROTTLED},
    {"RequestTimeTooSkewed", DYNAMODB_CONFIGURATION},
    {"RequestTimeout", DYNAMODB_TRANSIENT},
    {"RequestTimeoutException", DYNAMODB_TRANSIENT},
    {"ResourceInUseException", DYNAMODB_TRANSIENT},
    {"ResourceNotFoundException", DYNAMODB_CONFIGURATION},
    {"SerializationException", DYNAMODB_INVALID},
    {"ServiceUnavailable", DYNAMODB_TRANSIENT},
    {"ServiceUnavailableException", DYNAMODB_TRANSIENT},
    {"SignatureDoesNotMatch", DYNAMODB_CONFIGURATION},
    {"SlowDown", DYNAMODB_THROTTLED},
    {"Throttling", DYNAMODB_THROTTLED},
    {"ThrottlingException", DYNAMODB_THROTTLED},
    {"TooManyRequestsException", DYNAMODB_THROTTLED},
    {"TransactionInProgressException", DYNAMODB_TRANSIENT},
    {"UnrecognizedClientException", DYNAMODB_CREDENTIALS},
    {"ValidationException", DYNAMODB_INVALID},
};

/* Refused signatures: the clock may be the reason. */
static const char *const time_types[] = {
    "InvalidSignatureException", "RequestExpired",        "RequestInTheFuture",
    "RequestTimeTooSkewed",      "SignatureDoesNotMatch",
};

/* ValidationExceptions that every item of this layout would get: the table has other keys. */
static const char *const schema_texts[] = {
    "key element does not match the schema",
    "Missing the key ",
    "Type mismatch for key ",
};

static bool contains(struct bytes text, const char *part)
{
    return text.len && memmem(text.data, text.len, part, strlen(part)) != NULL;
}

static struct bytes find(struct bytes body, struct bytes name)
{
    struct json_token t;
    if (json_find(body, name, DEPTH_MAX, &t) != E_OK || t.type != JSON_STRING) {
        return bytes_make(NULL, 0);
    }
    return t.text;
}

/* The first line: AWS adds the canonical request to some messages, with the session token in it. */
static struct bytes first_line(struct bytes message)
{
    const uint8_t *end = message.len ? memmem(message.data, message.len, "\\n", 2) : NULL;
    return end ? bytes_sub(message, 0, (size_t)(end - message.data)) : message;
}

/* "com.amazonaws.dynamodb.v20120810#ThrottlingException:http://..." -> "ThrottlingException" */
static struct bytes bare_type(struct bytes type)
{
    const uint8_t *hash = type.len ? memrchr(type.data, '#', type.len) : NULL;
    if (hash) {
        type = bytes_sub(type, (size_t)(hash - type.data) + 1, type.len);
    }
    const uint8_t *colon = type.len ? memchr(type.data, ':', type.len) : NULL;
    return colon ? bytes_sub(type, 0, (size_t)(colon - type.data)) : type;
}

static enum dynamodb_outcome outcome_of(int status, struct bytes type, struct bytes message)
{
    if (status == 413) {
        return DYNAMODB_INVALID;
    }
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (!bytes_equal(type, bytes_str(types[i].type))) {
            continue;
        }
        for (size_t j = 0; types[i].outcome == DYNAMODB_INVALID && j < sizeof(schema_texts) / sizeof(schema_texts[0]);
             j++) {
            if (contains(message, schema_texts[j])) {
                return DYNAMODB_CONFIGURATION;
            }
        }
        return types[i].outcome;
    }
    if (status == 429) {
        return DYNAMODB_THROTTLED;
    }
    /* what nobody knows about a 4xx: keep the data, say it, try slowly */
    return status >= 500 || status == 408 ? DYNAMODB_TRANSIENT : DYNAMODB_CONFIGURATION;
}

void dynamodb_classify(int status, struct bytes body, struct dynamodb_answer *out)
{
    out->status = status;
    out->body = body;
    out->time_refused = false;
    out->type[0] = out->text[0] = '\0';
    if (status == 200) {
        out->outcome = DYNAMODB_OK;
        return;
    }
    struct bytes type = bare_type(find(body, BYTES("__type")));
    struct bytes message = find(body, BYTES("message"));
    if (message.len == 0) {
        message = find(body, BYTES("Message"));
    }
    out->outcome = outcome_of(status, type, message);
    log_escape(type, out->type, sizeof(out->type));
    if (message.len) {
        log_escape(first_line(message), out->text, sizeof(out->text));
    } else {
        snprintf(out->text, sizeof(out->text), "HTTP status %d", status);
    }
    for (size_t i = 0; i < sizeof(time_types) / sizeof(time_types[0]); i++) {
        out->time_refused = out->time_refused || bytes_equal(type, bytes_str(time_types[i]));
    }
}
