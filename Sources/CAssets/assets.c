// Every file that travels inside the binary, one block and one row each; a test compares the table with the
// folders. C's #embed rather than SwiftPM's .embedInCode: the README of Assets has the figures.
#include "CAssets.h"

#if !__has_embed(</usr/share/javascript/dygraphs/dygraph.min.js>)
#error "Debian's package libjs-dygraphs is missing: run 'make deps'"
#endif

static const unsigned char css_app_css[] = {
#embed "../../Public/css/app.css"
};
static const unsigned char css_tokens_css[] = {
#embed "../../Public/css/tokens.css"
};
static const unsigned char favicon_svg[] = {
#embed "../../Public/favicon.svg"
};
static const unsigned char index_html[] = {
#embed "../../Public/index.html"
};
static const unsigned char js_main_js[] = {
#embed "../../Public/js/main.js"
};
static const unsigned char vendor_dygraph_css[] = {
#embed </usr/share/javascript/dygraphs/dygraph.css>
};
static const unsigned char vendor_dygraph_min_js[] = {
#embed </usr/share/javascript/dygraphs/dygraph.min.js>
};
#if __has_embed("../../migrations/0001_initial.sql")
static const unsigned char migration_0001[] = {
#embed "../../migrations/0001_initial.sql"
};
#endif

#define ROW(name, array) {name, array, sizeof array}

static const cassets_file files[] = {
    ROW("public/css/app.css", css_app_css),
    ROW("public/css/tokens.css", css_tokens_css),
    ROW("public/favicon.svg", favicon_svg),
    ROW("public/index.html", index_html),
    ROW("public/js/main.js", js_main_js),
    ROW("public/vendor/dygraph.css", vendor_dygraph_css),
    ROW("public/vendor/dygraph.min.js", vendor_dygraph_min_js),
#if __has_embed("../../migrations/0001_initial.sql")
    ROW("migrations/0001_initial.sql", migration_0001),
#endif
};

static const size_t file_count = sizeof files / sizeof files[0];

size_t cassets_file_count(void) { return file_count; }

cassets_file cassets_file_at(size_t index) {
    return index < file_count ? files[index] : (cassets_file){0, 0, 0};
}
