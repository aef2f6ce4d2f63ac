/* DynamoDB's AttributeValue, from JSON and back ("AttributeValue", Amazon DynamoDB API Reference). Everything is made
 * from the text of the JSON document, so that numbers keep every digit. One thread at a time per encoder. */
#ifndef AWS_ATTRIBUTE_H
#define AWS_ATTRIBUTE_H

#include "base/json.h"

/* "Quotas in Amazon DynamoDB": item size with attribute names; nesting; partition key value. */
#define ATTRIBUTE_ITEM_MAX (400u * 1024u)
#define ATTRIBUTE_NESTING_MAX 32u
#define ATTRIBUTE_HASH_KEY_MAX 2048u

/* What it keeps between calls is memory only. */
struct attribute_encoder {
    struct buffer members; /* of the objects that are open */
    struct buffer text;    /* an unescaped string */
};

void attribute_encoder_init(struct attribute_encoder *encoder);
void attribute_encoder_finish(struct attribute_encoder *encoder);

/* Appends the AttributeValue of a JSON value: objects M, arrays L, strings S, true and false BOOL, null NULL, numbers N if DynamoDB
 * can hold them (38 significant digits, magnitude 1E-130 to 9.9E+125), else S with the text that was sent. Of members
 * with the same name the last one counts. *size receives the value's size as DynamoDB counts it ("DynamoDB item sizes and
 * formats"; the attribute's own name is not in it). E_MALFORMED: not JSON; E_TOO_LARGE: deeper than ATTRIBUTE_NESTING_MAX
 * objects and arrays; E_FULL: over out's ceiling. What was appended before an error is taken back. */
MUST_CHECK enum err attribute_encode(struct attribute_encoder *encoder, struct bytes json, struct buffer *out,
                                     size_t *size);

/* Appends {"S":"..."}. E_MALFORMED: not UTF-8. */
MUST_CHECK enum err attribute_append_string(struct buffer *out, struct bytes text);

/* Appends a JSON number as {"N":"..."} or, where DynamoDB has no room for it, {"S":"..."}; *size as above. The text must be
 * a number of JSON's grammar. */
MUST_CHECK enum err attribute_append_number(struct buffer *out, struct bytes number, size_t *size);

/* Appends the plain JSON of an AttributeValue (the inverse; sets become arrays, binary values their base64 text).
 * E_MALFORMED: not an AttributeValue. What was appended before an error is taken back. */
MUST_CHECK enum err attribute_decode(struct bytes attribute_value, struct buffer *out);

/* The same with the value that comes next in a document; the reader's depth bounds the nesting. After an error the reader stands
 * somewhere in that value. */
MUST_CHECK enum err attribute_decode_next(struct json_reader *r, struct buffer *out);

#endif
