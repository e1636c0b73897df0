#pragma once
#include <zlib.h>

/// Prepares a stream to inflate gzip members. Wraps inflateInit2(), which is a macro.
static inline int czlib_begin_gzip(z_stream *stream) {
    return inflateInit2(stream, 16 + MAX_WBITS);
}

/// Prepares a stream to inflate zlib's own framing. Wraps inflateInit2(), which is a macro.
static inline int czlib_begin_zlib(z_stream *stream) {
    return inflateInit2(stream, MAX_WBITS);
}

/// Prepares a stream to inflate deflate data without any framing. Wraps inflateInit2(), which is a macro.
static inline int czlib_begin_raw(z_stream *stream) {
    return inflateInit2(stream, -MAX_WBITS);
}
