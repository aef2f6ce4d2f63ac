/* What an answer of DynamoDB means ("Error handling with DynamoDB", Amazon DynamoDB Developer Guide). No I/O. Any thread. */
#ifndef AWS_DYNAMODB_ANSWER_H
#define AWS_DYNAMODB_ANSWER_H

#include "base/bytes.h"
#include "base/err.h"

enum dynamodb_outcome {
    DYNAMODB_OK,            /* status 200; of a batch some items may still have come back unprocessed */
    DYNAMODB_THROTTLED,     /* too fast: again, later and slower */
    DYNAMODB_TRANSIENT,     /* their side or the way there: again, later */
    DYNAMODB_CLOCK,         /* the signature's time was refused; our clock has been corrected: again, at once */
    DYNAMODB_CREDENTIALS,   /* expired or unknown, or there are none yet: again, with others */
    DYNAMODB_INVALID,       /* something in the request itself: never again as it is */
    DYNAMODB_CONFIGURATION, /* no table, other keys, no permission ...: again when somebody has changed something */
};

struct dynamodb_answer {
    enum dynamodb_outcome outcome;
    int status;              /* of HTTP; 0 = no answer came */
    struct bytes body;       /* valid during the callback */
    uint32_t retry_after_ms; /* x-amz-retry-after; 0 = not said */
    bool time_refused;       /* the signature was refused, perhaps for its time: the caller compares clocks */
    char type[64];           /* of the error, without prefix; "" if none */
    char text[320];          /* what AWS or the network says, fit for a log line */
};

/* Sets outcome, type and text from status and body. */
void dynamodb_classify(int status, struct bytes body, struct dynamodb_answer *out);

#endif
