// Every file that travels inside the binary, one block and one row each; a test compares the table with the
// folders. C's #embed rather than SwiftPM's .embedInCode: the README of Assets has the figures.
#include "CAssets.h"

#if !__has_embed(</usr/share/javascript/dygraphs/dygraph.min.js>)
#error "Debian's package libjs-dygraphs is missing: run 'make deps'"
#endif

static const unsigned char css_app_css[] = {
#embed "../../Public/css/app.css"
};
static const unsigned char css_parts_css[] = {
#embed "../../Public/css/parts.css"
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
static const unsigned char js_api_js[] = {
#embed "../../Public/js/api.js"
};
static const unsigned char js_charts_js[] = {
#embed "../../Public/js/charts.js"
};
static const unsigned char js_dom_js[] = {
#embed "../../Public/js/dom.js"
};
static const unsigned char js_format_js[] = {
#embed "../../Public/js/format.js"
};
static const unsigned char js_main_js[] = {
#embed "../../Public/js/main.js"
};
static const unsigned char js_parts_js[] = {
#embed "../../Public/js/parts.js"
};
static const unsigned char js_poll_js[] = {
#embed "../../Public/js/poll.js"
};
static const unsigned char js_views_curves_js[] = {
#embed "../../Public/js/views/curves.js"
};
static const unsigned char js_views_datasets_js[] = {
#embed "../../Public/js/views/datasets.js"
};
static const unsigned char js_views_documents_js[] = {
#embed "../../Public/js/views/documents.js"
};
static const unsigned char js_views_events_js[] = {
#embed "../../Public/js/views/events.js"
};
static const unsigned char js_views_job_js[] = {
#embed "../../Public/js/views/job.js"
};
static const unsigned char js_views_jobs_js[] = {
#embed "../../Public/js/views/jobs.js"
};
static const unsigned char js_views_models_js[] = {
#embed "../../Public/js/views/models.js"
};
static const unsigned char js_views_signin_js[] = {
#embed "../../Public/js/views/signin.js"
};
static const unsigned char js_views_system_js[] = {
#embed "../../Public/js/views/system.js"
};
static const unsigned char vendor_dygraph_css[] = {
#embed </usr/share/javascript/dygraphs/dygraph.css>
};
static const unsigned char vendor_dygraph_min_js[] = {
#embed </usr/share/javascript/dygraphs/dygraph.min.js>
};
static const unsigned char migration_0001[] = {
#embed "../../migrations/0001_initial.sql"
};
static const unsigned char migration_0002[] = {
#embed "../../migrations/0002_profile.sql"
};
static const unsigned char migration_0003[] = {
#embed "../../migrations/0003_uploads.sql"
};
static const unsigned char migration_0004[] = {
#embed "../../migrations/0004_submitter.sql"
};
static const unsigned char migration_0005[] = {
#embed "../../migrations/0005_webhooks.sql"
};
static const unsigned char migration_0006[] = {
#embed "../../migrations/0006_retention.sql"
};
static const unsigned char migration_0007[] = {
#embed "../../migrations/0007_webhook_bodies.sql"
};
static const unsigned char migration_0008[] = {
#embed "../../migrations/0008_queue.sql"
};
static const unsigned char migration_0009[] = {
#embed "../../migrations/0009_discarded.sql"
};
static const unsigned char migration_0010[] = {
#embed "../../migrations/0010_paused.sql"
};
static const unsigned char migration_0011[] = {
#embed "../../migrations/0011_kept.sql"
};
static const unsigned char migration_0012[] = {
#embed "../../migrations/0012_lost_dependencies.sql"
};
static const unsigned char migration_0013[] = {
#embed "../../migrations/0013_crash_step.sql"
};

#define ROW(name, array) {name, array, sizeof array}

static const cassets_file files[] = {
    ROW("public/css/app.css", css_app_css),
    ROW("public/css/parts.css", css_parts_css),
    ROW("public/css/tokens.css", css_tokens_css),
    ROW("public/favicon.svg", favicon_svg),
    ROW("public/index.html", index_html),
    ROW("public/js/api.js", js_api_js),
    ROW("public/js/charts.js", js_charts_js),
    ROW("public/js/dom.js", js_dom_js),
    ROW("public/js/format.js", js_format_js),
    ROW("public/js/main.js", js_main_js),
    ROW("public/js/parts.js", js_parts_js),
    ROW("public/js/poll.js", js_poll_js),
    ROW("public/js/views/curves.js", js_views_curves_js),
    ROW("public/js/views/datasets.js", js_views_datasets_js),
    ROW("public/js/views/documents.js", js_views_documents_js),
    ROW("public/js/views/events.js", js_views_events_js),
    ROW("public/js/views/job.js", js_views_job_js),
    ROW("public/js/views/jobs.js", js_views_jobs_js),
    ROW("public/js/views/models.js", js_views_models_js),
    ROW("public/js/views/signin.js", js_views_signin_js),
    ROW("public/js/views/system.js", js_views_system_js),
    ROW("public/vendor/dygraph.css", vendor_dygraph_css),
    ROW("public/vendor/dygraph.min.js", vendor_dygraph_min_js),
    ROW("migrations/0001_initial.sql", migration_0001),
    ROW("migrations/0002_profile.sql", migration_0002),
    ROW("migrations/0003_uploads.sql", migration_0003),
    ROW("migrations/0004_submitter.sql", migration_0004),
    ROW("migrations/0005_webhooks.sql", migration_0005),
    ROW("migrations/0006_retention.sql", migration_0006),
    ROW("migrations/0007_webhook_bodies.sql", migration_0007),
    ROW("migrations/0008_queue.sql", migration_0008),
    ROW("migrations/0009_discarded.sql", migration_0009),
    ROW("migrations/0010_paused.sql", migration_0010),
    ROW("migrations/0011_kept.sql", migration_0011),
    ROW("migrations/0012_lost_dependencies.sql", migration_0012),
    ROW("migrations/0013_crash_step.sql", migration_0013),
};

static const size_t file_count = sizeof files / sizeof files[0];

size_t cassets_file_count(void) { return file_count; }

cassets_file cassets_file_at(size_t index) {
    return index < file_count ? files[index] : (cassets_file){0, 0, 0};
}
