/* The CAs of the system. OpenSSL's own way reads all of the bundle (on Debian 140 certificates, 20 ms) before it is known which one is
 * wanted. Here the folder is asked first, in which a certificate is found by the hash of its name, and the bundle is read only when
 * the folder does not have it. The places are OpenSSL's, with SSL_CERT_DIR and SSL_CERT_FILE. */
#include "net/tls_internal.h"

#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>

static X509_LOOKUP_METHOD *bundle_method;
static pthread_once_t bundle_once = PTHREAD_ONCE_INIT;

static const char *bundle_file(void)
{
    const char *file = getenv(X509_get_default_cert_file_env());
    return file ? file : X509_get_default_cert_file();
}

static int bundle_by_subject(X509_LOOKUP *lookup, X509_LOOKUP_TYPE type, const X509_NAME *name, X509_OBJECT *out)
{
    X509_STORE *store = X509_LOOKUP_get_store(lookup);
    X509 *found = NULL;
    if (type != X509_LU_X509 || X509_LOOKUP_get_method_data(lookup)) {
        return 0; /* once it is read, OpenSSL finds its certificates in the store */
    }
    X509_LOOKUP_set_method_data(lookup, store);
    ERR_set_mark();
    (void)X509_load_cert_crl_file(lookup, bundle_file(), X509_FILETYPE_PEM); /* as far as it can be read */
    ERR_pop_to_mark();
    X509_STORE_lock(store);
    X509_OBJECT *object = X509_OBJECT_retrieve_by_subject(X509_STORE_get0_objects(store), type, name);
    found = object ? X509_OBJECT_get0_X509(object) : NULL;
    X509_STORE_unlock(store);
    if (!found || X509_OBJECT_set1_X509(out, found) != 1) {
        return 0;
    }
    X509_free(found); /* the caller takes a reference of its own; the store keeps another */
    return 1;
}

static void init_bundle(void)
{
    bundle_method = X509_LOOKUP_meth_new("the system's bundle, when it is needed");
    if (bundle_method) {
        X509_LOOKUP_meth_set_get_by_subject(bundle_method, bundle_by_subject);
    }
}

enum err tls_trust_system(SSL_CTX *ctx)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    pthread_once(&bundle_once, init_bundle);
    X509_LOOKUP *folder = X509_STORE_add_lookup(store, X509_LOOKUP_hash_dir());
    bool ok = folder && X509_LOOKUP_add_dir(folder, NULL, X509_FILETYPE_DEFAULT) == 1 && bundle_method &&
              X509_STORE_add_lookup(store, bundle_method);
    ERR_clear_error();
    return ok ? E_OK : E_NOMEM;
}
