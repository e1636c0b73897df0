#pragma once
// Whether a request's head is byte for byte what libmicrohttpd 0.9.75 shows of it.
//
// That version ends each value at the first NUL, joins folded lines, drops lines without a name and takes bare line
// feeds; all of it before the application is asked, so that another parser in front could have read another
// request. But it cuts the head where it lies: where one string ends the next begins, with nothing between them but
// the separators, which it overwrites with NULs. Anything else was hidden. Measured with `SmugglingTests`; later
// versions lay heads out differently and refuse these themselves (MHD_OPTION_STRICT_FOR_CLIENT).
#include <microhttpd.h>
#include <stddef.h>
#include <string.h>

typedef struct {
    const char *end;      // Of what was seen last.
    int separator_count;  // Before a name: 1 in a target, 2 between lines.
    int is_verbatim;
} cmhd_walk;

// Whether `from` is followed by `count` NULs and nothing else up to `to`.
static inline int cmhd_is_separator(const char *from, const char *to, int count) {
    if (to - from != count) return 0;
    for (int i = 0; i < count; i++)
        if (from[i] != 0) return 0;
    return 1;
}

// A pair: separators, the name, a NUL for the `=` or `:`, white space, the value.
static inline enum MHD_Result cmhd_walk_pair(
    void *context, enum MHD_ValueKind kind, const char *name, size_t name_count, const char *value,
    size_t value_count) {
    (void)kind;
    cmhd_walk *walk = (cmhd_walk *)context;
    const char *end = name + name_count;
    int follows = cmhd_is_separator(walk->end, name, walk->separator_count);
    if (follows && value) {
        ptrdiff_t gap = value - end;
        follows = gap >= 1 && gap <= 65536 && end[0] == 0;
        for (ptrdiff_t i = 1; follows && i < gap; i++) follows = end[i] == ' ' || end[i] == '\t';
        end = value + value_count;
    }
    walk->end = end;
    walk->is_verbatim = follows;
    return follows ? MHD_YES : MHD_NO;
}

// Walks over method, target, version and fields; 0 where something lies between them that is not shown. To be
// called before the body is read, which comes to lie over the head.
static inline int cmhd_is_verbatim(
    struct MHD_Connection *connection, const char *method, const char *path, const char *version) {
    static const char *const known = "0.9.75";
    if (strcmp(MHD_get_version(), known) != 0) return 1;
    if (!cmhd_is_separator(method + strlen(method), path, 1)) return 0;
    cmhd_walk walk = {path + strlen(path), 1, 1};
    MHD_get_connection_values_n(connection, MHD_GET_ARGUMENT_KIND, cmhd_walk_pair, &walk);
    if (!walk.is_verbatim) return 0;
    // An empty query, or one that ends with `&`, leaves one more.
    if (!cmhd_is_separator(walk.end, version, 1) && !cmhd_is_separator(walk.end, version, 2)) return 0;
    walk.end = version + strlen(version);
    walk.separator_count = 2;
    MHD_get_connection_values_n(connection, MHD_HEADER_KIND, cmhd_walk_pair, &walk);
    if (!walk.is_verbatim) return 0;
    // The end of the last line, and the empty one; what is behind them may not be there yet.
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    return info && info->header_size == (size_t)(walk.end + 4 - method);
}
