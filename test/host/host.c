/* Loads the plugin and drives its entry points from one thread as the broker does, so that sanitizers see all of it: the real
 * broker is not instrumented.
 *
 *   plugin_host PLUGIN.so < commands
 *
 *   option NAME VALUE            a plugin_opt_ line
 *   init                         loads the plugin; the answer is "init CODE"
 *   message QOS TOPIC PAYLOAD    a MESSAGE event with MQTT 5 properties; "message CODE"
 *   burst COUNT QOS TOPIC        COUNT of them with payload {"seq":N}, a TICK after each 50; "burst TAKEN REFUSED"
 *   tick MILLISECONDS            TICK events every 10 ms for so long
 *   until PUBLISHED MILLISECONDS TICK events until the plugin has published so many messages; "until PUBLISHED"
 *   reload                       a RELOAD event; "reload CODE"
 *   cleanup                      "cleanup CODE", and "threads N" that are left: one, and those of libuv's pool
 *
 * Everything that the plugin logs and publishes is printed as "log LEVEL TEXT" and "published TOPIC QOS RETAIN PAYLOAD". */
#include "broker_api.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPTIONS_MAX 256
#define TICK_US 10000u

struct host {
    void *image;
    int (*version)(int, const int *);
    int (*init)(mosquitto_plugin_id_t *, void **, struct mosquitto_opt *, int);
    int (*cleanup)(void *, struct mosquitto_opt *, int);
    struct mosquitto_opt options[OPTIONS_MAX];
    int option_count;
    void *userdata;
    char identity; /* its address is the plugin's identifier */
    bool running;
};

static void *symbol(struct host *h, const char *name)
{
    void *s = dlsym(h->image, name);
    if (!s) {
        fprintf(stderr, "host: %s\n", dlerror());
        exit(1);
    }
    return s;
}

static void load(struct host *h, const char *path)
{
    h->image = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!h->image) {
        fprintf(stderr, "host: %s\n", dlerror());
        exit(1);
    }
    *(void **)&h->version = symbol(h, "mosquitto_plugin_version");
    *(void **)&h->init = symbol(h, "mosquitto_plugin_init");
    *(void **)&h->cleanup = symbol(h, "mosquitto_plugin_cleanup");
    const int supported[] = {MOSQ_PLUGIN_VERSION};
    int version = h->version(1, supported);
    if (version != MOSQ_PLUGIN_VERSION) {
        fprintf(stderr, "host: plugin version %d\n", version);
        exit(1);
    }
}

static void tick(void)
{
    struct mosquitto_evt_tick event = {0}; /* 2.0 gives no times */
    broker_api_call(MOSQ_EVT_TICK, &event);
}

static void tick_for(unsigned ms)
{
    for (unsigned done = 0; done <= ms * 1000; done += TICK_US) {
        tick();
        usleep(TICK_US);
    }
}

static int message(unsigned qos, const char *topic, const char *payload)
{
    struct mosquitto client = {.id = "host", .username = NULL, .protocol_version = 5};
    struct mosquitto_evt_message event = {.client = &client,
                                          .topic = strdup(topic),
                                          .payload = strdup(payload),
                                          .payloadlen = (uint32_t)strlen(payload),
                                          .properties = broker_api_sample_properties(),
                                          .qos = (uint8_t)qos};
    if (!event.topic || !event.payload || !event.properties) {
        fprintf(stderr, "host: no memory\n");
        exit(1);
    }
    int rc = broker_api_call(MOSQ_EVT_MESSAGE, &event);
    mosquitto_property_free_all(&event.properties);
    free(event.topic);
    free(event.payload);
    return rc;
}

static void burst(unsigned count, unsigned qos, const char *topic)
{
    unsigned taken = 0;
    for (unsigned i = 0; i < count; i++) {
        char payload[64];
        snprintf(payload, sizeof(payload), "{\"seq\":%u}", i);
        taken += message(qos, topic, payload) == MOSQ_ERR_SUCCESS;
        if (i % 50 == 0) {
            tick();
        }
    }
    printf("burst %u %u\n", taken, count - taken);
}

static unsigned threads(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e; d && (e = readdir(d));) {
        n += e->d_name[0] != '.';
    }
    if (d) {
        closedir(d);
    }
    return n;
}

static void option(struct host *h, const char *name, const char *value)
{
    if (h->option_count == OPTIONS_MAX) {
        fprintf(stderr, "host: too many options\n");
        exit(1);
    }
    struct mosquitto_opt *o = &h->options[h->option_count++];
    o->key = strdup(name);
    o->value = strdup(value);
}

static void init(struct host *h)
{
    int rc = h->init((mosquitto_plugin_id_t *)&h->identity, &h->userdata, h->options, h->option_count);
    h->running = rc == MOSQ_ERR_SUCCESS;
    printf("init %d\n", rc);
}

static void cleanup(struct host *h)
{
    int rc = h->cleanup(h->userdata, h->options, h->option_count);
    h->running = false;
    printf("cleanup %d\n", rc);
    printf("threads %u\n", threads());
    if (broker_api_registered() > 0) {
        printf("registered %u\n", broker_api_registered());
    }
}

static void until(unsigned published, unsigned ms)
{
    for (unsigned done = 0; done <= ms && broker_api_counters()->published < published; done += TICK_US / 1000) {
        tick();
        usleep(TICK_US);
    }
    printf("until %u\n", broker_api_counters()->published);
}

/* One line of input; false: not understood. */
static bool command(struct host *h, char *line)
{
    char name[128];
    char topic[512];
    unsigned a;
    unsigned b;
    int at = 0;
    if (sscanf(line, "option %127s %n", name, &at) == 1 && at > 0) {
        option(h, name, line + at);
    } else if (strcmp(line, "init") == 0) {
        init(h);
    } else if (sscanf(line, "message %u %511s %n", &a, topic, &at) == 2 && at > 0) {
        printf("message %d\n", message(a, topic, line + at));
    } else if (sscanf(line, "burst %u %u %511s", &a, &b, topic) == 3) {
        burst(a, b, topic);
    } else if (sscanf(line, "tick %u", &a) == 1) {
        tick_for(a);
    } else if (sscanf(line, "until %u %u", &a, &b) == 2) {
        until(a, b);
    } else if (strcmp(line, "reload") == 0) {
        printf("reload %d\n", broker_api_call(MOSQ_EVT_RELOAD, NULL));
    } else if (strcmp(line, "cleanup") == 0 && h->running) {
        cleanup(h);
    } else {
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct host h = {0};
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    if (argc != 2) {
        fprintf(stderr, "usage: plugin_host PLUGIN.so < commands\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    broker_api_init();
    load(&h, argv[1]);
    while ((len = getline(&line, &size, stdin)) > 0) {
        line[strcspn(line, "\n")] = '\0';
        if (!command(&h, line)) {
            fprintf(stderr, "host: not understood: %s\n", line);
            return 2;
        }
    }
    if (h.running) {
        cleanup(&h);
    }
    for (int i = 0; i < h.option_count; i++) {
        free(h.options[i].key);
        free(h.options[i].value);
    }
    free(line);
    dlclose(h.image);
    return 0;
}
