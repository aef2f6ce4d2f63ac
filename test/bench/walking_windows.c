/* Judges windows with walking.c: each line of standard input has the magnitudes of one (at 50 Hz), each line of the output is
 * "WALKING CADENCE CONFIDENCE", or "-" when there are too few. For the comparison with the rule of the phone page. */
#include "websensor/walking.h"

#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        static double values[4096];
        struct walking_verdict v;
        size_t count = 0;
        char *at = line, *end = line;
        for (double x = strtod(at, &end); end != at && count < 4096; x = strtod(at, &end)) {
            values[count++] = x;
            at = end;
        }
        if (walking_judge(values, count, &v) == E_OK) {
            printf("%d %.3f %.6f\n", v.walking, v.cadence, v.confidence);
        } else {
            printf("-\n");
        }
    }
    free(line);
    return 0;
}
