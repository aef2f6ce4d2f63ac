/* dashboard.cgi: plain CGI, or FastCGI when the web server hands over a listening socket as standard input. */
#include "dashboard/gateway.h"

#include <fcgiapp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DEFAULT_CONF "/etc/mosquitto-aws/dashboard.conf"

static const struct program program = {.name = "dashboard.cgi",
                                       .version = MQA_VERSION,
                                       .summary = "shows stored measurements as a page, JSON and CSV (CGI, FastCGI)",
                                       .table = &dashboard_option_table,
                                       .check = dashboard_config_check};

LOG_POINT(log_gone, "dashboard.browser-gone", LOG_DEBUG, "nobody waited for the end of an answer");
LOG_POINT(log_started, "dashboard.started", LOG_DEBUG, "answering requests");

/* --- logging: to standard error, as far as log_type wants it --- */

static void write_log(void *ctx, enum log_level level, const char *line)
{
    const struct dashboard_config *c = ctx;
    unsigned levels = c->program.log_levels ? c->program.log_levels : ~(1u << LOG_DEBUG);
    if (levels & (1u << level)) {
        fprintf(stderr, "%s %s: %s\n", program.name, log_level_name(level), line);
    }
}

/* --- CGI --- */

static enum err write_stdout(void *ctx, struct bytes data)
{
    (void)ctx;
    return fwrite(data.data, 1, data.len, stdout) == data.len ? E_OK : E_CLOSED;
}

static const char *variable(const char *name, char **envp)
{
    return envp ? FCGX_GetParam(name, envp) : getenv(name);
}

static struct gateway_variables variables(char **envp)
{
    return (struct gateway_variables){.method = variable("REQUEST_METHOD", envp),
                                      .request_uri = variable("REQUEST_URI", envp),
                                      .script_name = variable("SCRIPT_NAME", envp),
                                      .path_info = variable("PATH_INFO", envp),
                                      .query_string = variable("QUERY_STRING", envp),
                                      .if_none_match = variable("HTTP_IF_NONE_MATCH", envp)};
}

static int answer_once(const struct api *api)
{
    struct gateway_variables v = variables(NULL);
    enum err e = gateway_answer(api, &v, write_stdout, NULL);
    return e == E_OK && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* A process for one answer looks up a name or two: libuv's pool needs no more than one thread, and each costs 0.2 ms. */
static void start_small(void)
{
    (void)setenv("UV_THREADPOOL_SIZE", "1", 0);
}

/* The end of such a process. The kernel takes everything back at once; exit() would first wait for a name that is still being
 * looked up, and let OpenSSL take itself apart. */
static _Noreturn void leave(int code)
{
    _exit(code);
}

/* --- FastCGI --- */

static void on_signal(int number)
{
    (void)number;
    FCGX_ShutdownPending();
}

static enum err write_stream(void *ctx, struct bytes data)
{
    FCGX_Stream *out = ctx;
    while (data.len > 0) {
        int n = data.len < 1 << 20 ? (int)data.len : 1 << 20;
        if (FCGX_PutStr((const char *)data.data, n, out) != n) {
            return E_CLOSED;
        }
        data = bytes_sub(data, (size_t)n, data.len);
    }
    return E_OK;
}

/* Without an api (the configuration cannot be used): until one request has heard so. The web server then starts a new process,
 * which reads a configuration that may have been corrected. */
static int answer_many(const struct api *api)
{
    FCGX_Request request;
    struct sigaction stop = {.sa_handler = on_signal};
    if (FCGX_Init() != 0 || FCGX_InitRequest(&request, 0, FCGI_FAIL_ACCEPT_ON_INTR) != 0) {
        fprintf(stderr, "%s: standard input is no FastCGI socket\n", program.name);
        return EXIT_FAILURE;
    }
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    log_emit_plain(&log_started);
    while (FCGX_Accept_r(&request) == 0) {
        struct gateway_variables v = variables(request.envp);
        if (gateway_answer(api, &v, write_stream, request.out) != E_OK) {
            log_emit_plain(&log_gone);
        }
        FCGX_Finish_r(&request);
        log_flush_suppressed();
        if (!api) {
            break;
        }
    }
    FCGX_Free(&request, 1);
    return EXIT_SUCCESS;
}

/* --- start --- */

/* A web server may pass words of the query string as arguments (RFC 3875, section 4.4): they must not become options. */
static bool configure(int argc, char **argv, bool is_request, struct dashboard_config *config, int *exit_code)
{
    const char *path = getenv("DASHBOARD_CONF");
    char option[] = "-c";
    static char file[4096]; /* named in errors later on */
    char *own[] = {argv[0], option, file, NULL};
    bool run = false;
    snprintf(file, sizeof(file), "%s", path && path[0] ? path : DEFAULT_CONF);
    bool arguments = !is_request && argc > 1;
    program_configure(&program, arguments ? argc : 3, arguments ? argv : own, config, &run, exit_code);
    return run;
}

static int serve(const struct dashboard_config *config, bool is_cgi)
{
    struct api api = {.config = config};
    struct option_error error = {""};
    enum err e = source_open(config, &api.source, &error);
    if (e != E_OK) {
        program_complain(&program, &config->program, e, &error);
        if (is_cgi) {
            return answer_once(NULL);
        }
        answer_many(NULL);
        return EXIT_FAILURE;
    }
    if (is_cgi) {
        leave(answer_once(&api));
    }
    program_note_secrets(&program, &config->program);
    int code = answer_many(&api);
    source_close(api.source);
    return code;
}

int main(int argc, char **argv)
{
    static struct dashboard_config config;
    bool is_request = getenv("REQUEST_METHOD") != NULL || getenv("GATEWAY_INTERFACE") != NULL;
    bool is_cgi = FCGX_IsCGI();
    int code = EXIT_FAILURE;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    if (!configure(argc, argv, is_request, &config, &code)) {
        if (is_cgi && is_request) {
            return answer_once(NULL);
        }
        if (!is_cgi && code != EXIT_SUCCESS) {
            answer_many(NULL);
        }
        return code;
    }
    log_init(write_log, &config, LOG_DEBUG);
    if (is_cgi) {
        start_small();
    }
    if (is_cgi && !is_request) {
        fprintf(stderr, "%s: is started by a web server, as CGI or FastCGI program (see --help)\n", program.name);
        code = EXIT_FAILURE;
    } else {
        code = serve(&config, is_cgi);
    }
    log_init(NULL, NULL, LOG_DEBUG);
    options_finish(&dashboard_option_table, &config);
    return code;
}
