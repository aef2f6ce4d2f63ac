/* Sources that answer at once: environment and shared files. */
#include "aws/credentials_source.h"
#include "aws/profile.h"

#include <stdlib.h>

enum err source_environment(struct credential_answer *out, struct aws_error *error)
{
    const char *key = getenv("AWS_ACCESS_KEY_ID");
    const char *secret = getenv("AWS_SECRET_ACCESS_KEY");
    const char *token = getenv("AWS_SESSION_TOKEN");
    if ((!key || !key[0]) && (!secret || !secret[0])) {
        aws_error_set(error, "AWS_ACCESS_KEY_ID is not set");
        return E_NOT_FOUND;
    }
    return aws_keys_set(&out->keys, bytes_str(key), bytes_str(secret), bytes_str(token), error);
}

enum err source_files(const char *profile, struct credential_answer *out, struct aws_error *error)
{
    struct aws_profile p = {0};
    const char *name = aws_profile_name(profile);
    enum err e = aws_profile_load(name, &p, error);
    if (e) {
        /* the text names the file */
    } else if (p.access_key || p.secret_key) {
        e = aws_keys_set(&out->keys, bytes_str(p.access_key), bytes_str(p.secret_key), bytes_str(p.session_token),
                         error);
    } else if (p.unsupported) {
        aws_error_set(error,
                      "profile %.100s wants %s, which is not supported: no program is started and no role assumed here",
                      name, p.unsupported);
        e = E_UNSUPPORTED;
    } else {
        aws_error_set(error, p.found ? "profile %.100s holds no keys" : "there is no profile %.100s", name);
        e = E_NOT_FOUND;
    }
    aws_profile_finish(&p);
    return e;
}
