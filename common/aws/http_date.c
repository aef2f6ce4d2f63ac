#include "aws/http_date.h"

#include <stdio.h>

enum err http_date_parse(struct bytes text, struct wall *out)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char copy[30];
    char month[4];
    unsigned day, year, hour, minute, second;
    int end = 0;
    if (text.len != sizeof(copy) - 1 || memchr(text.data, '\0', text.len)) {
        return E_MALFORMED;
    }
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    if (sscanf(copy, "%*3[A-Za-z], %2u %3[A-Za-z] %4u %2u:%2u:%2u GMT%n", &day, month, &year, &hour, &minute, &second,
               &end) != 6 ||
        end != (int)text.len || strlen(month) != 3) {
        return E_MALFORMED;
    }
    const char *at = strstr(months, month);
    if (!at || (at - months) % 3 != 0) {
        return E_MALFORMED;
    }
    char iso[32];
    snprintf(iso, sizeof(iso), "%04u-%02u-%02uT%02u:%02u:%02uZ", year, (unsigned)(at - months) / 3 + 1, day, hour,
             minute, second == 60 ? 59 : second);
    return wall_parse_iso8601(bytes_str(iso), out);
}
