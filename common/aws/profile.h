/* The shared credentials and config files of AWS's tools ("Configuration and credential file settings in the AWS CLI", AWS
 * SDKs and Tools Reference Guide), and the region. Files are read on the calling thread: small, at start and at renewal.
 * Any thread. */
#ifndef AWS_PROFILE_H
#define AWS_PROFILE_H

#include "aws/keys.h"

#define AWS_PROFILE_FILE_MAX (1u << 20)

/* What both files say about one profile. Owned strings, NULL = not set. */
struct aws_profile {
    bool found; /* a section of this name exists */
    char *access_key;
    char *secret_key;
    char *session_token;
    char *region;
    char *ca_bundle;
    /* A way to get credentials that we do not support (credential_process, role_arn, ...), by the name of its setting. */
    const char *unsupported;
};

enum aws_profile_file {
    AWS_CREDENTIALS_FILE, /* sections [name] */
    AWS_CONFIG_FILE,      /* sections [default] and [profile name] */
};

/* Adds what `text` says about `name`; values that are set already stay (the credentials file goes before the config file).
 * E_MALFORMED with the line. */
MUST_CHECK enum err aws_profile_parse(struct bytes text, enum aws_profile_file file, const char *name,
                                      struct aws_profile *out, struct aws_error *error);

/* Reads AWS_SHARED_CREDENTIALS_FILE (or ~/.aws/credentials) and AWS_CONFIG_FILE (or ~/.aws/config). A file that is missing is
 * empty. name NULL: AWS_PROFILE, or "default". E_ACCESS, E_IO, E_TOO_LARGE, E_MALFORMED with the file in the text. */
MUST_CHECK enum err aws_profile_load(const char *name, struct aws_profile *out, struct aws_error *error);
void aws_profile_finish(struct aws_profile *p);

/* The profile that is meant: `configured`, AWS_PROFILE, "default". Borrowed. */
const char *aws_profile_name(const char *configured);

#define AWS_REGION_SIZE 64
/* The region: `configured` (may be NULL), AWS_REGION, AWS_DEFAULT_REGION, the profile's, or the one in one of `hosts` (names or
 * URLs of AWS endpoints, NULL allowed). E_NOT_FOUND: nothing says it. E_INVALID: what says it is no region name. */
MUST_CHECK enum err aws_region_find(const char *configured, const struct aws_profile *profile, const char *const *hosts,
                                    size_t host_count, char out[static AWS_REGION_SIZE], struct aws_error *error);

/* The domain of AWS's endpoints in this region ("amazonaws.com.cn" in China). */
const char *aws_region_domain(const char *region);

#endif
