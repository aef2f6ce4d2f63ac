/* What DynamoDB and the sources of credentials answer: any bytes. The first one chooses the reader. */
#include "aws/dynamodb_answer.h"
#include "aws/credentials_source.h"
#include "aws/dynamodb_item.h"
#include "base/json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct dynamodb_layout layouts[] = {{"sensor", "timestamp", 'S', 0}, {"id", "at", 'N', 0}};

static void on_unprocessed(void *ctx, struct bytes sensor, int64_t timestamp_ms)
{
    size_t *total = ctx;
    *total += sensor.len + (timestamp_ms > 0);
}

static bool on_item(void *ctx, const struct dynamodb_item *item)
{
    size_t *total = ctx;
    struct json_token message;
    *total += item->sensor.len;
    if (item->message.len &&
        (json_parse(item->message, JSON_DEPTH_MAX, &message) != E_OK || message.type != JSON_OBJECT)) {
        abort();
    }
    return *total < 100000;
}

static void read_items(const struct dynamodb_layout *layout, struct bytes body)
{
    size_t total = 0;
    struct buffer next;
    buffer_init(&next, 65536);
    enum err e = dynamodb_items_parse(layout, body, (struct wall){1000000000000}, on_item, &total, &next);
    (void)e;
    buffer_finish(&next);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct bytes body = bytes_make(data + 1, size - 1);
    const struct dynamodb_layout *layout = &layouts[data[0] & 1];
    struct credential_answer credentials = {0};
    struct dynamodb_answer answer;
    struct aws_error error;
    size_t total = 0;
    enum err e = E_OK;
    switch (data[0] % 5) {
    case 0:
        dynamodb_classify(400, body, &answer);
        dynamodb_classify(500, body, &answer);
        break;
    case 1:
        e = dynamodb_unprocessed(layout, body, on_unprocessed, &total);
        break;
    case 2:
        read_items(layout, body);
        break;
    case 3:
        e = credential_answer_parse(SOURCE_ROLE_ALIAS, body, (struct wall){0}, &credentials, &error);
        break;
    default:
        e = credential_answer_parse(SOURCE_CONTAINER, body, (struct wall){0}, &credentials, &error);
        break;
    }
    (void)e;
    aws_keys_finish(&credentials.keys);
    return 0;
}
