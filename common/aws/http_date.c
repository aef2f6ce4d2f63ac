#include "aws/http_date.h"

#include <stdio.h>

/* Offsets in "Tue, 15 Nov 1994 08:12:31 GMT". */
#define DAY 5
#define MONTH 8
#define YEAR 12
#define TIME 17

enum err http_date_parse(struct bytes text, struct wall *out)
{
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    static const char form[] = "xxx, xx xxx xxxx xx:xx:xx GMT";
    if (text.len != sizeof(form) - 1) {
        return E_MALFORMED;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (form[i] != 'x' && text.data[i] != (uint8_t)form[i]) {
            return E_MALFORMED;
        }
    }
    const char *s = (const char *)text.data;
    for (unsigned month = 0; month < 12; month++) {
        if (memcmp(s + MONTH, months[month], 3) == 0) {
            char iso[32];
            int n = snprintf(iso, sizeof(iso), "%.4s-%02u-%.2sT%.8sZ", s + YEAR, month + 1, s + DAY, s + TIME);
            return wall_parse_iso8601(bytes_make(iso, (size_t)n), out);
        }
    }
    return E_MALFORMED;
}
