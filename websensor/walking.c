#include "websensor/walking.h"

#include <math.h>
#include <string.h>

#define SMOOTH_HZ 4.0
#define LAGS 80u /* 1.6 s */
#define PEAK_MIN 0.35
#define SD_MIN 0.8
#define SD_MAX 4.5
/* Before smoothing: the impacts of a run stand out there, also where its arms swing at a walk's pace. */
#define UNSMOOTHED_SD_MAX 7.5
#define RUN_MARGIN 0.3

/* A measured rate differs from batch to batch; more than this is another rate. */
#define RATE_WOBBLE 0.1

/* Step rates in Hz: walking, and the run that must not be taken for it. */
#define STEP_SLOWEST 1.4
#define STEP_FASTEST 2.3
#define RUN_FASTEST 3.6

static void subtract_mean(double *v, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += v[i];
    }
    for (size_t i = 0; i < n; i++) {
        v[i] -= sum / (double)n;
    }
}

static void smooth(double *v, size_t n)
{
    const double alpha = 1 - exp(-2 * M_PI * SMOOTH_HZ / WALKING_RATE);
    double first = 0;
    double second = 0;
    for (size_t i = 0; i < n; i++) {
        first += alpha * (v[i] - first);
        second += alpha * (first - second);
        v[i] = second;
    }
}

static double variance(const double *v, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += v[i] * v[i];
    }
    return sum / (double)n;
}

/* Unbiased autocorrelation, 1 at lag 0. */
static void correlate(const double *v, size_t n, double var, double r[LAGS + 1])
{
    for (size_t k = 0; k <= LAGS; k++) {
        double sum = 0;
        for (size_t i = 0; i + k < n; i++) {
            sum += v[i] * v[i + k];
        }
        r[k] = sum / (double)(n - k) / var;
    }
}

/* The highest local peak with a lag from fs/fast to fs/slow. */
static double best_peak(const double r[LAGS + 1], double fast, double slow, size_t *lag)
{
    double best = -1;
    for (size_t k = (size_t)ceil(WALKING_RATE / fast); (double)k <= WALKING_RATE / slow; k++) {
        if (r[k] > best && r[k] >= r[k - 1] && r[k] >= r[k + 1]) {
            best = r[k];
            *lag = k;
        }
    }
    return best;
}

static double run_peak(const double r[LAGS + 1])
{
    double best = -1;
    for (size_t k = (size_t)ceil(WALKING_RATE / RUN_FASTEST); (double)k < WALKING_RATE / STEP_FASTEST; k++) {
        best = fmax(best, r[k]);
    }
    return best;
}

static double clamp01(double v)
{
    return fmin(fmax(v, 0), 1);
}

enum err walking_judge(const double *magnitudes, size_t count, struct walking_verdict *out)
{
    if (count < WALKING_SHORTEST) {
        return E_AGAIN;
    }
    size_t n = count < WALKING_WINDOW ? count : WALKING_WINDOW;
    double v[WALKING_WINDOW];
    memcpy(v, magnitudes + (count - n), n * sizeof(*v));
    subtract_mean(v, n);
    double unsmoothed_sd = sqrt(variance(v, n));
    smooth(v, n);
    subtract_mean(v, n);
    double var = variance(v, n);
    double sd = sqrt(var);
    *out = (struct walking_verdict){.confidence = 1};
    if (!(var > 0)) {
        return E_OK;
    }
    double r[LAGS + 1];
    size_t step = 0;
    size_t stride = 0;
    correlate(v, n, var, r);
    double step_peak = best_peak(r, STEP_FASTEST, STEP_SLOWEST, &step);
    double stride_peak = best_peak(r, STEP_FASTEST / 2, STEP_SLOWEST / 2, &stride);
    double peak = fmax(step_peak, stride_peak);
    /* The condition that is closest to failing, or fails most: 0 on its border, 1 a whole threshold away. */
    double margin = fmin(fmin((peak - PEAK_MIN) / PEAK_MIN, (sd - SD_MIN) / SD_MIN),
                         fmin((SD_MAX - sd) / SD_MAX, (peak - RUN_MARGIN - run_peak(r)) / RUN_MARGIN));
    margin = fmin(margin, (UNSMOOTHED_SD_MAX - unsmoothed_sd) / UNSMOOTHED_SD_MAX);
    out->walking = margin > 0;
    out->confidence = 0.5 + 0.5 * clamp01(fabs(margin));
    if (out->walking) {
        double hz = step_peak >= stride_peak ? WALKING_RATE / (double)step : 2 * WALKING_RATE / (double)stride;
        out->cadence = 60 * hz;
    }
    return E_OK;
}

void walking_reset(struct walking *w)
{
    *w = (struct walking){0};
}

static bool finite_batch(const double *x, const double *y, const double *z, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(x[i]) || !isfinite(y[i]) || !isfinite(z[i])) {
            return false;
        }
    }
    return true;
}

static void put(struct walking *w, const double next[3], double at)
{
    double sum = 0;
    for (size_t axis = 0; axis < 3; axis++) {
        double v = w->last[axis] + at * (next[axis] - w->last[axis]);
        sum += v * v;
    }
    w->window[w->count++ % WALKING_WINDOW] = sqrt(sum);
}

enum err walking_add(struct walking *w, double rate, const double *x, const double *y, const double *z, size_t count)
{
    if (!(rate >= WALKING_RATE_MIN && rate <= WALKING_RATE_MAX) || !finite_batch(x, y, z, count)) {
        return E_INVALID;
    }
    if (fabs(rate - w->rate) > RATE_WOBBLE * w->rate) {
        walking_reset(w);
    }
    w->rate = rate;
    const double step = rate / WALKING_RATE;
    for (size_t i = 0; i < count; i++) {
        const double next[3] = {x[i], y[i], z[i]};
        if (w->count == 0) {
            memcpy(w->last, next, sizeof(next));
            put(w, next, 0);
            w->phase = step;
            continue;
        }
        for (; w->phase <= 1; w->phase += step) {
            put(w, next, w->phase);
        }
        w->phase -= 1;
        memcpy(w->last, next, sizeof(next));
    }
    return E_OK;
}

enum err walking_now(const struct walking *w, struct walking_verdict *out)
{
    double ordered[WALKING_WINDOW];
    size_t n = w->count < WALKING_WINDOW ? w->count : WALKING_WINDOW;
    for (size_t i = 0; i < n; i++) {
        ordered[i] = w->window[(w->count - n + i) % WALKING_WINDOW];
    }
    return walking_judge(ordered, n, out);
}
