/* The answers to the requests of CONFIG.md's table: from a parsed request and a source to an answer on the exchange. One thread
 * at a time. */
#ifndef DASHBOARD_API_H
#define DASHBOARD_API_H

#include "dashboard/reply.h"
#include "dashboard/request.h"

/* Ceiling of an answer that is not streamed. */
#define API_ANSWER_MAX (64u << 20)

struct api {
    const struct dashboard_config *config;
    struct source *source;
};

/* Answers. The error is that of the exchange: nobody listens any more. */
MUST_CHECK enum err api_answer(const struct api *a, const struct request *r, const struct exchange *x);

/* Parts of it, each in a file of its own. */
MUST_CHECK enum err api_csv(const struct api *a, const struct request *r, const struct exchange *x);
MUST_CHECK enum err api_old_list(const struct api *a, const struct request *r, const struct exchange *x);
MUST_CHECK enum err api_old_last(const struct api *a, const struct request *r, const struct exchange *x);

/* The times of a request: `to` is now when it is not given, `from` a day before it. */
void api_times(const struct request *r, int64_t *from_ms, int64_t *to_ms);

/* 404 for a sensor without measurements. */
MUST_CHECK enum err api_no_measurements(const struct exchange *x);

/* Ends an answer in `body` and frees it: sends it as JSON when `e` is E_OK, says why not otherwise. */
MUST_CHECK enum err api_finish(const struct exchange *x, enum err e, struct buffer *body);

#endif
