#include "aws/profile.h"

#include <stdio.h>
#include <stdlib.h>

static bool is_region(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++) {
        uint8_t c = b.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) {
            return false;
        }
    }
    return b.len > 0 && b.len < AWS_REGION_SIZE && b.data[0] != '-';
}

/* The region in "https://dynamodb.eu-central-1.amazonaws.com:443/": the label in front of "amazonaws". Empty if there is none. */
static struct bytes region_of_host(const char *host)
{
    const char *scheme = strstr(host, "://");
    host = scheme ? scheme + 3 : host;
    struct bytes name = bytes_make(host, strcspn(host, ":/?"));
    const char *domain = strstr(host, ".amazonaws.com");
    if (!domain || (size_t)(domain - host) >= name.len) {
        return bytes_make(NULL, 0);
    }
    const char *end = domain;
    const char *start = end;
    while (start > host && start[-1] != '.') {
        start--;
    }
    struct bytes label = bytes_make(start, (size_t)(end - start));
    bool dash = label.len && memchr(label.data, '-', label.len) != NULL; /* "dynamodb.amazonaws.com" names none */
    return dash && is_region(label) ? label : bytes_make(NULL, 0);
}

enum err aws_region_find(const char *configured, const struct aws_profile *profile, const char *const *hosts,
                         size_t host_count, char out[static AWS_REGION_SIZE], struct aws_error *error)
{
    const struct {
        const char *from;
        const char *value;
    } said[] = {
        {"aws_region", configured},
        {"AWS_REGION", getenv("AWS_REGION")},
        {"AWS_DEFAULT_REGION", getenv("AWS_DEFAULT_REGION")},
        {"region of the profile", profile ? profile->region : NULL},
    };
    for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
        if (said[i].value && said[i].value[0]) {
            if (!is_region(bytes_str(said[i].value))) {
                aws_error_set(error, "%s: '%.40s' is not the name of a region, such as eu-central-1", said[i].from,
                              said[i].value);
                return E_INVALID;
            }
            snprintf(out, AWS_REGION_SIZE, "%s", said[i].value);
            return E_OK;
        }
    }
    for (size_t i = 0; i < host_count; i++) {
        struct bytes label = hosts[i] ? region_of_host(hosts[i]) : bytes_make(NULL, 0);
        if (label.len) {
            snprintf(out, AWS_REGION_SIZE, "%.*s", (int)label.len, (const char *)label.data);
            return E_OK;
        }
    }
    aws_error_set(
        error,
        "aws_region: not set, and neither AWS_REGION nor the shared config file nor an endpoint says the region");
    return E_NOT_FOUND;
}

const char *aws_region_domain(const char *region)
{
    return strncmp(region, "cn-", 3) == 0 ? "amazonaws.com.cn" : "amazonaws.com";
}
