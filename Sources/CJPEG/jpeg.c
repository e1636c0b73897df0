#include "CJPEG.h"
// Before libjpeg's header, which needs FILE.
#include <stdio.h>

#include <jpeglib.h>
#include <setjmp.h>

enum { message_size = 200, scans_max = 64, memory_max = 48 << 20 };

typedef struct {
    struct jpeg_error_mgr base;
    jmp_buf escape;
    char *message;
} failure;

typedef struct {
    struct jpeg_progress_mgr base;
} watch;

static void on_error(j_common_ptr image) {
    failure *failure = (void *)image->err;
    char text[JMSG_LENGTH_MAX];
    image->err->format_message(image, text);
    snprintf(failure->message, message_size, "%s", text);
    longjmp(failure->escape, 1);
}

// Warnings are of damaged data; traces (a level of 0 and more) are not.
static void on_message(j_common_ptr image, int level) {
    if (level < 0) on_error(image);
}

static void on_progress(j_common_ptr image) {
    j_decompress_ptr source = (j_decompress_ptr)image;
    failure *failure = (void *)image->err;
    if (source->input_scan_number <= scans_max) return;
    snprintf(failure->message, message_size, "it has more than %d scans", scans_max);
    longjmp(failure->escape, 1);
}

static void begin(struct jpeg_decompress_struct *image, failure *failure, watch *watch, char *message) {
    image->err = jpeg_std_error(&failure->base);
    failure->base.error_exit = on_error;
    failure->base.emit_message = on_message;
    failure->message = message;
    watch->base.progress_monitor = on_progress;
}

int cjpeg_read_header(const uint8_t *bytes, size_t count, cjpeg_header *header, char *message) {
    struct jpeg_decompress_struct image = {0};
    failure failure = {0};
    watch watch = {0};
    begin(&image, &failure, &watch, message);
    if (setjmp(failure.escape)) {
        jpeg_destroy_decompress(&image);
        return -1;
    }
    jpeg_create_decompress(&image);
    jpeg_mem_src(&image, bytes, count);
    jpeg_read_header(&image, TRUE);
    *header = (cjpeg_header){image.image_width, image.image_height, (unsigned)image.num_components};
    jpeg_destroy_decompress(&image);
    return 0;
}

int cjpeg_decode(const uint8_t *bytes, size_t count, unsigned channels, uint8_t *pixels, size_t capacity,
                 char *message) {
    struct jpeg_decompress_struct image = {0};
    failure failure = {0};
    watch watch = {0};
    begin(&image, &failure, &watch, message);
    if (setjmp(failure.escape)) {
        jpeg_destroy_decompress(&image);
        return -1;
    }
    jpeg_create_decompress(&image);
    image.progress = &watch.base;
    image.mem->max_memory_to_use = memory_max;
    jpeg_mem_src(&image, bytes, count);
    jpeg_read_header(&image, TRUE);
    image.out_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    image.dct_method = JDCT_ISLOW;
    jpeg_start_decompress(&image);
    size_t row_count = (size_t)image.output_width * channels;
    if (row_count * image.output_height != capacity || (unsigned)image.output_components != channels) {
        snprintf(message, message_size, "its extents changed");
        longjmp(failure.escape, 1);
    }
    while (image.output_scanline < image.output_height) {
        JSAMPROW row = pixels + image.output_scanline * row_count;
        jpeg_read_scanlines(&image, &row, 1);
    }
    jpeg_finish_decompress(&image);
    jpeg_destroy_decompress(&image);
    return 0;
}
