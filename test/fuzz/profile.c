/* Shared credentials and config files: any bytes, both kinds of file, one profile. */
#include "aws/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"default", "gateway"};
    for (size_t i = 0; i < 2; i++) {
        struct aws_profile p = {0};
        struct aws_error error;
        struct aws_keys keys = {0};
        char region[AWS_REGION_SIZE];
        enum err e = aws_profile_parse(bytes_make(data, size), AWS_CREDENTIALS_FILE, names[i], &p, &error);
        e = e ? e : aws_profile_parse(bytes_make(data, size), AWS_CONFIG_FILE, names[i], &p, &error);
        if (e == E_OK && p.access_key && p.secret_key) {
            e = aws_keys_set(&keys, bytes_str(p.access_key), bytes_str(p.secret_key), bytes_str(p.session_token),
                             &error);
        }
        const char *hosts[] = {p.ca_bundle, p.access_key};
        e = aws_region_find(NULL, &p, hosts, 2, region, &error);
        (void)e;
        aws_keys_finish(&keys);
        aws_profile_finish(&p);
    }
    return 0;
}
