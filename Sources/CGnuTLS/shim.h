#pragma once
// What Swift cannot say about GnuTLS: its macros and its flags, which are both enumerators and macros.
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

// No SIGPIPE: a peer that has gone shows up as an error.
static inline int cgnutls_init_client(gnutls_session_t *session) {
    return gnutls_init(session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL);
}

// gnutls_transport_set_int() is a macro.
static inline void cgnutls_set_socket(gnutls_session_t session, int descriptor) {
    gnutls_transport_set_int2(session, descriptor, descriptor);
}

static inline int cgnutls_is_again(long status) { return status == GNUTLS_E_AGAIN; }
static inline int cgnutls_is_interrupted(long status) { return status == GNUTLS_E_INTERRUPTED; }
static inline int cgnutls_is_premature_end(long status) { return status == GNUTLS_E_PREMATURE_TERMINATION; }
static inline int cgnutls_is_unverified(long status) {
    return status == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR;
}

// gnutls_free is a variable that holds a function.
static inline void cgnutls_free(void *memory) { gnutls_free(memory); }
