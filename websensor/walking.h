/* Walking or not, from an accelerometer: autocorrelation of the magnitude at the lags of a step or a stride, with a guard
 * against running. Gravity must be included in the samples (without it rectification spoils the magnitude).
 *
 * walking_judge() is the rule for one window, a pure function. struct walking is one device's stream: samples come in batches
 * at any even rate, are resampled to WALKING_RATE and judged over the last WALKING_WINDOW of them. The rule stands a second
 * time in the phone page (page/walking.js); a test holds the two together. One thread at a time. */
#ifndef WEBSENSOR_WALKING_H
#define WEBSENSOR_WALKING_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define WALKING_RATE 50.0     /* Hz */
#define WALKING_WINDOW 256u   /* samples: 5.12 s */
#define WALKING_SHORTEST 128u /* samples: 2.56 s; with fewer there is no verdict */

/* Rates that are taken, in Hz. */
#define WALKING_RATE_MIN 15.0
#define WALKING_RATE_MAX 1000.0

struct walking_verdict {
    bool walking;
    double cadence;    /* steps per minute; 0 unless walking */
    double confidence; /* 0.5 (on the border) to 1 */
};

/* Judges `count` magnitudes in m/s2, evenly sampled at WALKING_RATE. E_AGAIN below WALKING_SHORTEST; only the last
 * WALKING_WINDOW count. */
MUST_CHECK enum err walking_judge(const double *magnitudes, size_t count, struct walking_verdict *out);

struct walking {
    double window[WALKING_WINDOW]; /* ring of resampled magnitudes */
    size_t count;                  /* resampled so far; the next goes to window[count % WALKING_WINDOW] */
    double rate;                   /* of the last batch, Hz; 0 = none yet */
    double phase;                  /* next output sample, in input samples behind `last` */
    double last[3];                /* last input sample */
};

/* Forgets what came before. */
void walking_reset(struct walking *w);

/* Takes a batch: `count` samples per axis in m/s2 at `rate` Hz, following on the last batch without a gap (call walking_reset
 * otherwise). A rate that differs by over a tenth from the one before begins anew. E_INVALID: rate out of range or a value that is not finite; nothing was
 * taken. */
MUST_CHECK enum err walking_add(struct walking *w, double rate, const double *x, const double *y, const double *z,
                                size_t count);

/* Judges the last window. E_AGAIN: not enough yet. */
MUST_CHECK enum err walking_now(const struct walking *w, struct walking_verdict *out);

#endif
