/* Cost of routing a topic with 10, 1,000 and 10,000 filters; matching, and not matching.  bench_routes */
#include "base/clock.h"
#include "plugin/routes.h"

#include <stdio.h>
#include <stdlib.h>

#define TURNS 2000000u

static void measure(const struct routes *r, const char *root, const char *leaf, unsigned count)
{
    static char topics[256][64];
    for (unsigned i = 0; i < 256; i++) {
        snprintf(topics[i], sizeof(topics[i]), "%s/%u/room1/%s", root, i * 7919u % count, leaf);
    }
    struct route_match m;
    unsigned matched = 0;
    struct mono start = mono_now();
    for (unsigned i = 0; i < TURNS; i++) {
        matched += routes_match(r, bytes_str(topics[i & 255u]), &m);
    }
    double ns = (double)(mono_now().ns - start.ns) / TURNS;
    printf("%6u filters  %s/N/room1/%-12s %6.1f ns/message  %3.0f %% match\n", count, root, leaf, ns,
           100.0 * matched / TURNS);
}

static void run(unsigned count)
{
    struct topic_route *lines = calloc(count, sizeof(*lines));
    struct option_error why;
    struct routes *r;
    char text[64];
    for (unsigned i = 0; lines && i < count; i++) {
        snprintf(text, sizeof(text), "site/%u/+/temperature", i);
        if (topic_route_parse(bytes_str(text), &lines[i], &why) != E_OK) {
            exit(EXIT_FAILURE);
        }
    }
    if (!lines || routes_compile(lines, count, NULL, 0, &r) != E_OK) {
        exit(EXIT_FAILURE);
    }
    measure(r, "site", "temperature", count);
    measure(r, "site", "humidity", count);
    measure(r, "elsewhere", "temperature", count);
    routes_destroy(r);
    for (unsigned i = 0; i < count; i++) {
        topic_route_finish(&lines[i]);
    }
    free(lines);
}

int main(void)
{
    run(10);
    run(1000);
    run(10000);
    return EXIT_SUCCESS;
}
