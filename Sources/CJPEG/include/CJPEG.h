#pragma once
#include <stddef.h>
#include <stdint.h>

/// What the header of a JPEG image says.
typedef struct {
    unsigned width, height;
    /// 1 for grey, 3 for colour, 4 for the inks of print.
    unsigned channels;
} cjpeg_header;

/// Reads a header. Returns 0, or -1 with a message where there is none; `message` has room for 200 bytes.
///
/// libjpeg tells of errors by a call that must not return: the `setjmp` for it is what Swift cannot have.
int cjpeg_read_header(const uint8_t *bytes, size_t count, cjpeg_header *header, char *message);

/// Decodes an image to `channels` (1 or 3) bytes per pixel, row after row.
///
/// `capacity` is the size of `pixels`, which must be exactly that of the image. Damaged data, which libjpeg
/// would patch up, are refused, and so are images of more than 64 scans. Returns 0, or -1 with a message.
int cjpeg_decode(const uint8_t *bytes, size_t count, unsigned channels, uint8_t *pixels, size_t capacity,
                 char *message);
