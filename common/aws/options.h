/* The option rows of AWS's side that the plugin and the dashboard share: same names, limits and words in both. They fit any
 * struct whose members are named like the options:
 *
 *   char *iot_certfile, *iot_keyfile, *iot_cafile;
 *   char *aws_region, *aws_profile, *aws_role_alias, *aws_credentials_endpoint;
 *   char *dynamodb_table, *dynamodb_endpoint, *dynamodb_sensor_key, *dynamodb_time_key;
 *   int dynamodb_time_type;
 *   uint64_t dynamodb_connections;
 */
#ifndef AWS_OPTIONS_H
#define AWS_OPTIONS_H

#include "base/option.h"

#define DYNAMODB_CONNECTIONS_MAX 64u

/* "S", "N": the values are the letters. */
extern const struct option_word dynamodb_time_type_words[];

#define AWS_STRING_ROW(type_, name_, max_, initial_, arg_, text_)                                                      \
    {                                                                                                                  \
        .name = #name_, .type = OPTION_STRING, .offset = offsetof(type_, name_), .min = 1, .max = (max_),              \
        .initial = (initial_), .arg = (arg_), .text = (text_)                                                          \
    }

#define AWS_FILE_ROW(type_, name_, text_)                                                                              \
    {                                                                                                                  \
        .name = #name_, .type = OPTION_PATH, .offset = offsetof(type_, name_), .arg = "FILE", .text = (text_)          \
    }

#define AWS_SECRET_FILE_ROW(type_, name_, text_)                                                                       \
    {                                                                                                                  \
        .name = #name_, .type = OPTION_PATH, .offset = offsetof(type_, name_), .secret = true, .arg = "FILE",          \
        .text = (text_)                                                                                                \
    }

#define AWS_IDENTITY_OPTION_ROWS(type_)                                                                                \
    AWS_FILE_ROW(type_, iot_certfile, "Certificate of this gateway, PEM."),                                            \
        AWS_SECRET_FILE_ROW(type_, iot_keyfile,                                                                        \
                            "Private key that belongs to iot_certfile, PEM without a passphrase."),                    \
        AWS_FILE_ROW(type_, iot_cafile,                                                                                \
                     "CA certificates that the server is checked against; the system's by default.")

#define AWS_ACCOUNT_OPTION_ROWS(type_)                                                                                 \
    AWS_STRING_ROW(type_, aws_region, 64, NULL, "REGION",                                                              \
                   "AWS region; from the environment, the shared config or the endpoint by default."),                 \
        AWS_STRING_ROW(type_, aws_profile, 256, NULL, "NAME",                                                          \
                       "Section of the shared config and credentials files; from the environment or default "          \
                       "otherwise."),                                                                                  \
        AWS_STRING_ROW(type_, aws_role_alias, 128, NULL, "ALIAS",                                                      \
                       "Role alias of the IoT credential provider, used with the iot_ identity."),                     \
        AWS_STRING_ROW(type_, aws_credentials_endpoint, 261, NULL, "HOST", "Host of the IoT credential provider.")

#define DYNAMODB_TABLE_OPTION_ROWS(type_, table_text_)                                                                 \
    AWS_STRING_ROW(type_, dynamodb_table, 1024, NULL, "TABLE", table_text_),                                           \
        AWS_STRING_ROW(type_, dynamodb_endpoint, 1024, NULL, "URL", "Another endpoint than AWS's for the region."),    \
        AWS_STRING_ROW(type_, dynamodb_sensor_key, 255, "sensor", "NAME", "Name of the partition key attribute."),     \
        AWS_STRING_ROW(type_, dynamodb_time_key, 255, "timestamp", "NAME", "Name of the sort key attribute."),         \
        {.name = "dynamodb_time_type",                                                                                 \
         .type = OPTION_ENUM,                                                                                          \
         .offset = offsetof(type_, dynamodb_time_type),                                                                \
         .words = dynamodb_time_type_words,                                                                            \
         .initial = "S",                                                                                               \
         .arg = "S|N",                                                                                                 \
         .text = "Type of the sort key; decimal milliseconds since the epoch either way."},                            \
    {                                                                                                                  \
        .name = "dynamodb_connections", .type = OPTION_UINT, .offset = offsetof(type_, dynamodb_connections),          \
        .min = 1, .max = DYNAMODB_CONNECTIONS_MAX, .initial = "4", .arg = "N", .text = "Parallel requests."            \
    }

#endif
