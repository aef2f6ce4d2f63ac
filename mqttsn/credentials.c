#include "mqttsn/credentials.h"

#include "mqttsn/lines.h"

#include <stdlib.h>

enum { ENTRIES_MAX = 1000000, PSK_KEY_MIN = 16 };

static void wipe(void *p, size_t n)
{
    explicit_bzero(p, n);
}

static void free_secret(char *s)
{
    if (s) {
        wipe(s, strlen(s));
        free(s);
    }
}

/* --- clients_file */

struct credentials {
    struct credentials_entry *entries; /* by client id */
    size_t count, cap;
};

static void finish_entry(struct credentials_entry *e)
{
    free(e->client_id);
    free(e->username);
    free_secret(e->password);
    free(e->dtls);
}

/* Grows an array by doubling; NULL at the ceiling or without memory. */
static void *grow(void *items, size_t size, size_t count, size_t *cap)
{
    if (count < *cap) {
        return items;
    }
    size_t wanted = *cap ? *cap * 2 : 32;
    void *grown = count < ENTRIES_MAX ? realloc(items, wanted * size) : NULL;
    if (grown) {
        *cap = wanted;
    }
    return grown;
}

/* One "name=value" word. E_NOT_FOUND: no such name; E_EXISTS: a second one. */
static enum err set_word(struct credentials_entry *e, struct bytes word)
{
    struct {
        struct bytes prefix;
        char **value;
    } const known[] = {
        {BYTES("username="), &e->username}, {BYTES("password="), &e->password}, {BYTES("dtls="), &e->dtls}};
    for (size_t i = 0; i < 3; i++) {
        if (bytes_starts_with(word, known[i].prefix)) {
            if (*known[i].value) {
                return E_EXISTS;
            }
            *known[i].value = bytes_dup_str(bytes_sub(word, known[i].prefix.len, SIZE_MAX));
            return *known[i].value ? E_OK : E_NOMEM;
        }
    }
    return E_NOT_FOUND;
}

static enum err parse_entry(struct bytes line, struct credentials_entry *e, struct option_error *error)
{
    struct bytes word;
    if (!option_next_word(&line, &word) || word.len == 0) {
        option_error_set(error, "must be CLIENT-ID [username=..] [password=..] [dtls=..]");
        return E_INVALID;
    }
    e->client_id = bytes_dup_str(word);
    enum err err = e->client_id ? E_OK : E_NOMEM;
    while (err == E_OK && option_next_word(&line, &word)) {
        err = set_word(e, word);
    }
    if (err == E_NOT_FOUND || err == E_EXISTS) {
        option_error_set(error, "behind the client id: username=.., password=.. and dtls=.., each once");
        return E_INVALID;
    }
    if (err == E_OK && e->password && !e->username) {
        option_error_set(error, "a password needs a username");
        return E_INVALID;
    }
    return err;
}

static enum err take_client(void *ctx, struct bytes line, struct option_error *error)
{
    struct credentials *c = ctx;
    struct credentials_entry e = {0};
    void *grown = grow(c->entries, sizeof(e), c->count, &c->cap);
    if (!grown) {
        option_error_set(error, "no memory, or more than %d lines", ENTRIES_MAX);
        return E_NOMEM;
    }
    c->entries = grown;
    enum err err = parse_entry(line, &e, error);
    if (err != E_OK) {
        finish_entry(&e);
        return err;
    }
    c->entries[c->count++] = e;
    return E_OK;
}

static int compare_clients(const void *a, const void *b)
{
    return strcmp(((const struct credentials_entry *)a)->client_id, ((const struct credentials_entry *)b)->client_id);
}

static enum err finish_clients(struct credentials *c, enum err e, const char *name, struct credentials **out,
                               struct option_error *error)
{
    if (e == E_OK && c->count > 0) {
        qsort(c->entries, c->count, sizeof(*c->entries), compare_clients);
    }
    for (size_t i = 1; e == E_OK && i < c->count; i++) {
        if (compare_clients(&c->entries[i - 1], &c->entries[i]) == 0) {
            option_error_set(error, "%.150s: client %.100s stands twice", name, c->entries[i].client_id);
            e = E_INVALID;
        }
    }
    if (e != E_OK) {
        credentials_destroy(c);
        return e;
    }
    *out = c;
    return E_OK;
}

enum err credentials_read(struct bytes text, const char *name, struct credentials **out, struct option_error *error)
{
    struct credentials *c = calloc(1, sizeof(*c));
    return c ? finish_clients(c, lines_read(text, name, take_client, c, error), name, out, error) : E_NOMEM;
}

enum err credentials_read_file(const char *path, struct credentials **out, struct option_error *error)
{
    struct credentials *c = calloc(1, sizeof(*c));
    return c ? finish_clients(c, lines_read_file(path, take_client, c, error), path, out, error) : E_NOMEM;
}

void credentials_destroy(struct credentials *c)
{
    for (size_t i = 0; c && i < c->count; i++) {
        finish_entry(&c->entries[i]);
    }
    if (c) {
        free(c->entries);
    }
    free(c);
}

const struct credentials_entry *credentials_find(const struct credentials *c, struct bytes client_id)
{
    size_t low = 0, high = c ? c->count : 0;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = bytes_compare(bytes_str(c->entries[middle].client_id), client_id);
        if (order == 0) {
            return &c->entries[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* --- dtls_psk_file */

struct psk {
    char *identity;
    uint8_t len;
    uint8_t key[PSK_KEY_MAX];
};

struct psk_table {
    struct psk *keys; /* by identity */
    size_t count, cap;
};

static int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool parse_key(struct bytes hex, struct psk *out)
{
    if (hex.len % 2 != 0 || hex.len < 2 * PSK_KEY_MIN || hex.len > 2 * PSK_KEY_MAX) {
        return false;
    }
    for (size_t i = 0; i < hex.len; i += 2) {
        int high = hex_digit(hex.data[i]), low = hex_digit(hex.data[i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out->key[i / 2] = (uint8_t)(high << 4 | low);
    }
    out->len = (uint8_t)(hex.len / 2);
    return true;
}

static enum err take_psk(void *ctx, struct bytes line, struct option_error *error)
{
    struct psk_table *p = ctx;
    struct bytes identity, hex;
    struct psk key = {0};
    if (!option_next_word(&line, &identity) || identity.len == 0 || !option_next_word(&line, &hex) ||
        option_trim(line).len > 0 || !parse_key(hex, &key)) {
        option_error_set(error, "must be IDENTITY HEX-KEY with a key of %d to %u bytes", PSK_KEY_MIN, PSK_KEY_MAX);
        return E_INVALID;
    }
    /* Not realloc: it would leave copies of keys behind. */
    if (p->count == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 32;
        struct psk *keys = p->count < ENTRIES_MAX ? calloc(cap, sizeof(*keys)) : NULL;
        if (!keys) {
            return E_NOMEM;
        }
        if (p->count > 0) {
            memcpy(keys, p->keys, p->count * sizeof(*keys));
            wipe(p->keys, p->count * sizeof(*keys));
        }
        free(p->keys);
        p->keys = keys;
        p->cap = cap;
    }
    key.identity = bytes_dup_str(identity);
    if (!key.identity) {
        return E_NOMEM;
    }
    p->keys[p->count++] = key;
    wipe(&key, sizeof(key));
    return E_OK;
}

static int compare_psks(const void *a, const void *b)
{
    return strcmp(((const struct psk *)a)->identity, ((const struct psk *)b)->identity);
}

static enum err finish_psks(struct psk_table *p, enum err e, const char *name, struct psk_table **out,
                            struct option_error *error)
{
    if (e == E_OK && p->count > 0) {
        qsort(p->keys, p->count, sizeof(*p->keys), compare_psks);
    }
    for (size_t i = 1; e == E_OK && i < p->count; i++) {
        if (compare_psks(&p->keys[i - 1], &p->keys[i]) == 0) {
            option_error_set(error, "%.150s: identity %.100s stands twice", name, p->keys[i].identity);
            e = E_INVALID;
        }
    }
    if (e != E_OK) {
        psk_destroy(p);
        return e;
    }
    *out = p;
    return E_OK;
}

enum err psk_read(struct bytes text, const char *name, struct psk_table **out, struct option_error *error)
{
    struct psk_table *p = calloc(1, sizeof(*p));
    return p ? finish_psks(p, lines_read(text, name, take_psk, p, error), name, out, error) : E_NOMEM;
}

enum err psk_read_file(const char *path, struct psk_table **out, struct option_error *error)
{
    struct psk_table *p = calloc(1, sizeof(*p));
    return p ? finish_psks(p, lines_read_file(path, take_psk, p, error), path, out, error) : E_NOMEM;
}

void psk_destroy(struct psk_table *p)
{
    if (!p) {
        return;
    }
    for (size_t i = 0; i < p->count; i++) {
        free(p->keys[i].identity);
    }
    if (p->keys) {
        wipe(p->keys, p->cap * sizeof(*p->keys));
    }
    free(p->keys);
    free(p);
}

size_t psk_find(const struct psk_table *p, const char *identity, uint8_t key[static PSK_KEY_MAX])
{
    if (!p || p->count == 0) {
        return 0;
    }
    struct psk wanted = {.identity = (char *)(uintptr_t)identity}; /* bsearch only reads it */
    const struct psk *found = bsearch(&wanted, p->keys, p->count, sizeof(*p->keys), compare_psks);
    if (!found) {
        return 0;
    }
    memcpy(key, found->key, found->len);
    return found->len;
}
