/* The options of dashboard.cgi: one table is the master copy (man page and sample are compared with it). */
#ifndef DASHBOARD_CONFIG_H
#define DASHBOARD_CONFIG_H

#include "base/program.h"

#define CONFIG_METRICS_MAX 256u
#define CONFIG_SENSORS_MAX 1000u
#define CONFIG_POINTS_MAX 5000u /* also of a request */

enum config_source { CONFIG_SQLITE, CONFIG_DYNAMODB };

/* metric NAME [unit=..] [min=..] [max=..]: how the page shows it. Owned strings; the numbers are JSON numbers as written. */
struct config_metric {
    char *name;
    char *unit; /* NULL = none, here and below */
    char *min;
    char *max;
};

struct dashboard_config {
    struct program_options program; /* first member */
    int source;                     /* enum config_source */
    char *sqlite_file;
    char *iot_certfile;
    char *iot_keyfile;
    char *iot_cafile;
    char *aws_region;
    char *aws_profile;
    char *aws_role_alias;
    char *aws_credentials_endpoint;
    char *dynamodb_table;
    char *dynamodb_endpoint;
    char *dynamodb_sensor_key;
    char *dynamodb_time_key;
    int dynamodb_time_type;
    uint64_t dynamodb_connections;
    char *title;
    uint64_t refresh; /* ms */
    uint64_t points;
    struct config_metric metrics[CONFIG_METRICS_MAX];
    size_t metric_count;
    char *sensors[CONFIG_SENSORS_MAX]; /* none: every sensor may be seen */
    size_t sensor_count;
};

extern const struct option_table dashboard_option_table;

/* What the rows alone cannot check; for struct program. */
enum err dashboard_config_check(const void *config, struct option_error *error);

/* Whether the allow-list lets this sensor be seen. */
bool dashboard_config_allows(const struct dashboard_config *c, struct bytes sensor);

#endif
