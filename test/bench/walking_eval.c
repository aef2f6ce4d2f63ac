/* How well walking_judge() tells walking from the rest, on labelled recordings at 50 Hz (CSV: t,x,y,z,label,subject,session).
 *   walking_eval FILE.csv ...      (for gzipped files: <(zcat FILE.csv.gz))
 * Windows of 5.12 s within one session, half overlapping. A window counts under the label that most of it carries, and only if
 * that is at least MAJORITY of it. Labels that begin with "walking" are walking; those with "stairs" are shown and left out of
 * the figures; all others are the rest. */
#include "websensor/walking.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABELS_MAX 64
#define HOP (WALKING_WINDOW / 2)
#define MAJORITY 0.75

struct label {
    char name[48];
    unsigned windows;
    unsigned walking; /* judged so */
};

struct table {
    struct label labels[LABELS_MAX];
    size_t count;
};

static struct label *find_label(struct table *t, const char *name)
{
    for (size_t i = 0; i < t->count; i++) {
        if (strcmp(t->labels[i].name, name) == 0) {
            return &t->labels[i];
        }
    }
    if (t->count == LABELS_MAX) {
        fprintf(stderr, "too many labels\n");
        exit(EXIT_FAILURE);
    }
    struct label *l = &t->labels[t->count++];
    snprintf(l->name, sizeof(l->name), "%s", name);
    return l;
}

struct sample {
    double magnitude;
    size_t label;
};

/* The label of at least MAJORITY of the window, NULL without one. */
static struct label *majority(struct table *t, const struct sample *window)
{
    unsigned counts[LABELS_MAX] = {0};
    for (size_t i = 0; i < WALKING_WINDOW; i++) {
        if (++counts[window[i].label] >= MAJORITY * WALKING_WINDOW) {
            return &t->labels[window[i].label];
        }
    }
    return NULL;
}

static void judge(struct table *t, const struct sample *window)
{
    double magnitudes[WALKING_WINDOW];
    struct walking_verdict v;
    struct label *l = majority(t, window);
    for (size_t i = 0; i < WALKING_WINDOW; i++) {
        magnitudes[i] = window[i].magnitude;
    }
    if (l && walking_judge(magnitudes, WALKING_WINDOW, &v) == E_OK) {
        l->windows++;
        l->walking += v.walking;
    }
}

static void read_file(const char *path, struct table *t)
{
    FILE *f = fopen(path, "r");
    char line[512];
    char session[192] = "";
    struct sample window[WALKING_WINDOW];
    size_t n = 0;
    if (!f) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    while (fgets(line, sizeof(line), f)) {
        double time;
        double x;
        double y;
        double z;
        char label[48];
        char s[192];
        if (sscanf(line, "%lf,%lf,%lf,%lf,%47[^,],%191s", &time, &x, &y, &z, label, s) != 6) {
            continue;
        }
        if (strcmp(s, session) != 0) {
            n = 0;
            snprintf(session, sizeof(session), "%s", s);
        }
        window[n++] = (struct sample){sqrt(x * x + y * y + z * z), (size_t)(find_label(t, label) - t->labels)};
        if (n == WALKING_WINDOW) {
            judge(t, window);
            memmove(window, window + HOP, (WALKING_WINDOW - HOP) * sizeof(*window));
            n = WALKING_WINDOW - HOP;
        }
    }
    fclose(f);
}

static void print(const struct table *t)
{
    unsigned tp = 0;
    unsigned fp = 0;
    unsigned fn = 0;
    unsigned tn = 0;
    printf("%-28s %8s %8s %8s\n", "label", "windows", "walking", "share");
    for (size_t i = 0; i < t->count; i++) {
        const struct label *l = &t->labels[i];
        if (l->windows == 0) {
            continue;
        }
        printf("%-28s %8u %8u %7.1f%%\n", l->name, l->windows, l->walking, 100.0 * l->walking / l->windows);
        if (strstr(l->name, "stairs")) {
            continue;
        }
        if (strncmp(l->name, "walking", 7) == 0) {
            tp += l->walking;
            fn += l->windows - l->walking;
        } else {
            fp += l->walking;
            tn += l->windows - l->walking;
        }
    }
    double precision = tp + fp ? (double)tp / (tp + fp) : 0;
    double recall = tp + fn ? (double)tp / (tp + fn) : 0;
    printf("accuracy %.4f  precision %.4f  recall %.4f  F1 %.4f\n",
           tp + fp + fn + tn ? (double)(tp + tn) / (tp + fp + fn + tn) : 0, precision, recall,
           precision + recall > 0 ? 2 * precision * recall / (precision + recall) : 0);
}

int main(int argc, char **argv)
{
    static struct table all;
    for (int i = 1; i < argc; i++) {
        struct table one = {.count = 0};
        read_file(argv[i], &one);
        read_file(argv[i], &all);
        printf("%s\n", argv[i]);
        print(&one);
    }
    if (argc > 2) {
        printf("together\n");
        print(&all);
    }
    return argc > 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
