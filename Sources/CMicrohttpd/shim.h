#pragma once
// What Swift cannot say about libmicrohttpd: its variadic functions, its va_list callback and its
// macros; and the two socket calls whose sockaddr would otherwise bring pointers into Swift.
// Written for 0.9.75; the reasons for each option are in the README of the HTTP target.
#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct {
    int listen_fd;
    const void *certificate_callback;  // NULL = nothing is encrypted
    const char *priorities;
    unsigned int connections_max;
    unsigned int connections_per_peer_max;  // 0 = no limit
    unsigned int idle_seconds_max;
    unsigned int threads;
    size_t connection_bytes_max;
    size_t connection_bytes_increment;
} cmhd_configuration;

// Must outlive the daemon.
typedef struct {
    void (*line)(void *context, const char *text);
    void *context;
} cmhd_logger;

// va_list cannot be read in Swift.
static inline void cmhd_log(void *logger, const char *format, va_list arguments) {
    char text[512];
    vsnprintf(text, sizeof text, format, arguments);
    ((cmhd_logger *)logger)->line(((cmhd_logger *)logger)->context, text);
}

// Leaves %-escapes as they are: libmicrohttpd decodes a whole path at once, so that "%2e%2e%2f"
// would become "../" and "%00" would cut the string; we decode each segment once.
static inline size_t cmhd_keep_escapes(void *context, struct MHD_Connection *connection, char *text) {
    (void)context;
    (void)connection;
    return strlen(text);
}

// A listening TCP socket on a literal address, or -errno. Port 0 takes any; *port is the one taken.
static inline int cmhd_listen(const char *host, uint16_t wanted, int backlog, uint16_t *port) {
    struct sockaddr_storage storage = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&storage;
    socklen_t length;
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(wanted);
        length = sizeof *v4;
    } else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(wanted);
        length = sizeof *v6;
    } else {
        return -EINVAL;
    }
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        (storage.ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0) ||
        bind(fd, (struct sockaddr *)&storage, length) != 0 || listen(fd, backlog) != 0 ||
        getsockname(fd, (struct sockaddr *)&storage, &length) != 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    *port = ntohs(storage.ss_family == AF_INET ? v4->sin_port : v6->sin6_port);
    return fd;
}

// A UNIX socket bound to `path`, not listening yet, or -errno. A socket that a dead process left there is
// removed; -EADDRINUSE where somebody listens.
static inline int cmhd_bind_local(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    int is_dead = connect(fd, (struct sockaddr *)&address, sizeof address) != 0 && errno == ECONNREFUSED;
    if (is_dead) unlink(path);
    close(fd);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    int error = errno;
    close(fd);
    return -error;
}

// What a descriptor listens on: 1 = TCP on *port of a loopback address, 2 = of another one, 3 = a UNIX
// socket, 0 = nothing.
static inline int cmhd_listener_kind(int fd, uint16_t *port) {
    int listens = 0;
    socklen_t length = sizeof listens;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0 || !listens) return 0;
    struct sockaddr_storage address = {0};
    length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0) return 0;
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address;
    switch (address.ss_family) {
    case AF_UNIX: return 3;
    case AF_INET: *port = ntohs(v4->sin_port); return ntohl(v4->sin_addr.s_addr) >> 24 == 127 ? 1 : 2;
    case AF_INET6: *port = ntohs(v6->sin6_port); return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ? 1 : 2;
    default: return 0;
    }
}

// Passes with the certificate, whose callback has no place in the list of a daemon without it.
static inline void cmhd_certify(struct MHD_OptionItem *items, const cmhd_configuration *configuration) {
    int count = 0;
    if (configuration->certificate_callback) {
        items[count++] = (struct MHD_OptionItem){
            MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)configuration->certificate_callback};
        items[count++] =
            (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)configuration->priorities};
    }
    items[count] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
}

// MHD_start_daemon() is variadic. NULL on failure. Poll, never epoll: the epoll loop of 0.9.75 stalls
// when exactly 128 events arrive at once.
static inline struct MHD_Daemon *cmhd_start(
    const cmhd_configuration *configuration, MHD_AccessHandlerCallback on_request,
    MHD_RequestCompletedCallback on_completed, MHD_NotifyConnectionCallback on_connection,
    cmhd_logger *logger, void *context) {
    struct MHD_OptionItem certificate[3];
    cmhd_certify(certificate, configuration);
    return MHD_start_daemon(
        MHD_USE_POLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG |
            (configuration->certificate_callback ? MHD_USE_TLS : 0),
        0, NULL, NULL, on_request, context,  //
        MHD_OPTION_EXTERNAL_LOGGER, cmhd_log, logger,  // First: what follows may already log.
        MHD_OPTION_LISTEN_SOCKET, configuration->listen_fd,
        MHD_OPTION_THREAD_POOL_SIZE, configuration->threads,
        MHD_OPTION_CONNECTION_LIMIT, configuration->connections_max,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, configuration->connections_per_peer_max,
        MHD_OPTION_CONNECTION_TIMEOUT, configuration->idle_seconds_max,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, configuration->connection_bytes_max,
        MHD_OPTION_CONNECTION_MEMORY_INCREMENT, configuration->connection_bytes_increment,
        MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, context,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, context,
        MHD_OPTION_UNESCAPE_CALLBACK, cmhd_keep_escapes, NULL,
        MHD_OPTION_ARRAY, certificate,
        MHD_OPTION_END);
}

// MHD_set_connection_option() is variadic.
static inline int cmhd_set_idle_seconds(struct MHD_Connection *connection, unsigned int seconds) {
    return MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, seconds) == MHD_YES;
}

// MHD_get_connection_info() is variadic. -1 without a socket.
static inline int cmhd_socket(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

// MHD_get_connection_info() is variadic.
static inline int cmhd_is_suspended(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_SUSPENDED);
    return info && info->suspended == MHD_YES;
}

// The client's address as text, of a UNIX socket the client's user; an empty string when it has none.
static inline void cmhd_peer(struct MHD_Connection *connection, char *text, size_t byte_count) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    text[0] = 0;
    // A client of a UNIX socket has no address, but the kernel knows its user.
    struct {
        int process;
        unsigned int user, group;
    } peer;
    socklen_t length = sizeof peer;
    if (info && (!info->client_addr || info->client_addr->sa_family == AF_UNIX)) {
        int fd = cmhd_socket(connection);
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.process > 0)
            snprintf(text, byte_count, "uid:%u", peer.user);
        return;
    }
    if (!info || !info->client_addr) return;
    const void *address = info->client_addr->sa_family == AF_INET6
        ? (const void *)&((const struct sockaddr_in6 *)info->client_addr)->sin6_addr
        : (const void *)&((const struct sockaddr_in *)info->client_addr)->sin_addr;
    if (!inet_ntop(info->client_addr->sa_family, address, text, (socklen_t)byte_count)) text[0] = 0;
}

// MHD_get_daemon_info() is variadic.
static inline unsigned int cmhd_active(struct MHD_Daemon *daemon) {
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info ? info->num_connections : 0;
}

// MHD_SIZE_UNKNOWN is a cast expression, which Swift does not import.
static inline uint64_t cmhd_size_unknown(void) { return MHD_SIZE_UNKNOWN; }

// MHD_CONTENT_READER_END_OF_STREAM is a cast expression, which Swift does not import.
static inline ssize_t cmhd_end_of_stream(void) { return MHD_CONTENT_READER_END_OF_STREAM; }

// MHD_CONTENT_READER_END_WITH_ERROR is a cast expression, which Swift does not import.
static inline ssize_t cmhd_end_with_error(void) { return MHD_CONTENT_READER_END_WITH_ERROR; }
