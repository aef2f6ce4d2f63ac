#include "base/log.h"
#include "base/option.h"

enum { NAME_MAX_COMPARED = 40, SHOWN_SIZE = 80, PREFIX_MIN = 4, SHORT = 6, NO_MATCH = 1000 };

/* Case does not count, and neither does the kind of dash. */
static char folded(char c)
{
    return c == '-' ? '_' : c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static unsigned smaller(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* How many letters were left out, put in, replaced, or exchanged with their neighbour. */
static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    unsigned d[NAME_MAX_COMPARED + 1][NAME_MAX_COMPARED + 1];
    for (size_t i = 0; i <= a_len; i++) {
        for (size_t j = 0; j <= b_len; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = (unsigned)(i + j);
                continue;
            }
            char left = folded(a[i - 1]);
            char right = folded(b[j - 1]);
            d[i][j] = smaller(smaller(d[i - 1][j], d[i][j - 1]) + 1, d[i - 1][j - 1] + (left != right));
            if (i > 1 && j > 1 && left == folded(b[j - 2]) && folded(a[i - 2]) == right) {
                d[i][j] = smaller(d[i][j], d[i - 2][j - 2] + 1);
            }
        }
    }
    return d[a_len][b_len];
}

/* Two letters may be wrong, in a short name one, and the end may be missing. */
static unsigned score(const char *name, size_t len, const char *candidate)
{
    size_t candidate_len = strlen(candidate);
    if (len > NAME_MAX_COMPARED || candidate_len > NAME_MAX_COMPARED) {
        return NO_MATCH;
    }
    if (len >= PREFIX_MIN && strncmp(candidate, name, len) == 0) {
        return 1;
    }
    unsigned n = distance(name, len, candidate, candidate_len);
    return n <= (len < SHORT ? 1 : 2) && n < len ? n : NO_MATCH;
}

void options_unknown(const struct option_table *t, const char *name, struct option_error *error)
{
    char shown[SHOWN_SIZE];
    size_t len = strcspn(name, "=");
    const struct option_row *best = NULL;
    unsigned best_score = NO_MATCH;
    log_escape(bytes_str(name), shown, sizeof(shown));
    for (size_t i = 0; i < t->count; i++) {
        unsigned n = score(name, len, t->rows[i].name);
        if (n < best_score) {
            best = &t->rows[i];
            best_score = n;
        }
    }
    if (!best) {
        option_error_set(error, "unknown option %s", shown);
    } else if (name[len] == '=') {
        option_error_set(error, "unknown option %s: name and value stand without '=': %s VALUE", shown, best->name);
    } else {
        option_error_set(error, "unknown option %s; did you mean %s?", shown, best->name);
    }
}
