/* The Date header of HTTP ("Tue, 15 Nov 1994 08:12:31 GMT", RFC 9110 section 5.6.7, IMF-fixdate). Any thread. */
#ifndef AWS_HTTP_DATE_H
#define AWS_HTTP_DATE_H

#include "base/clock.h"

/* E_MALFORMED: anything else, the obsolete forms included. */
MUST_CHECK enum err http_date_parse(struct bytes text, struct wall *out);

#endif
