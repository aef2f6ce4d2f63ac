/* What the readers of DynamoDB's answers share. Internal to aws/. */
#ifndef AWS_DYNAMODB_ITEM_INTERNAL_H
#define AWS_DYNAMODB_ITEM_INTERNAL_H

#include "aws/dynamodb_item.h"

/* Deep enough for the deepest item in the deepest place of an answer. */
#define DYNAMODB_DEPTH_MAX (2 * ATTRIBUTE_NESTING_MAX + 16)

/* Decimal integer of up to 18 digits. */
MUST_CHECK bool dynamodb_read_integer(struct bytes text, int64_t *out);

#endif
