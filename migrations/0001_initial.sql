-- Times are milliseconds since 1970 (UTC); leases are nanoseconds of the monotonic clock.
-- Identifiers are a prefix and a ULID: 30 characters.
-- JSON columns have no json_valid() check: with trusted_schema off, SQLite 3.40 calls it unsafe in a schema.
-- The store writes only JSON that it encoded itself, and parses it strictly when it reads.

CREATE TABLE model(
    id TEXT PRIMARY KEY CHECK(length(id) = 30),
    name TEXT NOT NULL CHECK(length(name) BETWEEN 1 AND 200),
    job_id TEXT REFERENCES job(id) ON DELETE SET NULL,
    created_at INTEGER NOT NULL,
    architecture TEXT NOT NULL,
    parameters INTEGER NOT NULL CHECK(parameters >= 0),
    macs INTEGER NOT NULL CHECK(macs >= 0),
    path TEXT NOT NULL UNIQUE,
    byte_count INTEGER NOT NULL CHECK(byte_count >= 0),
    sha256 TEXT NOT NULL CHECK(length(sha256) = 64),
    metrics TEXT NOT NULL,
    lineage TEXT NOT NULL
) STRICT;
-- The models of a job: deleting the job, and the foreign key.
CREATE INDEX model_job ON model(job_id) WHERE job_id IS NOT NULL;

CREATE TABLE dataset(
    id TEXT PRIMARY KEY CHECK(length(id) = 30),
    name TEXT NOT NULL UNIQUE CHECK(length(name) BETWEEN 1 AND 200),
    format TEXT NOT NULL CHECK(length(format) BETWEEN 1 AND 32),
    is_ready INTEGER NOT NULL CHECK(is_ready IN (0, 1)),
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    details TEXT NOT NULL
) STRICT;

CREATE TABLE job(
    id TEXT PRIMARY KEY CHECK(length(id) = 30),
    type TEXT NOT NULL CHECK(length(type) BETWEEN 1 AND 32),
    name TEXT NOT NULL CHECK(length(name) <= 200),
    labels TEXT NOT NULL,
    spec TEXT NOT NULL CHECK(length(spec) <= 262144),
    estimate TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued' CHECK(state IN (
        'queued', 'running', 'pausing', 'paused', 'cancelling', 'cancelled', 'succeeded', 'failed')),
    reason_code TEXT,
    reason_message TEXT,
    priority INTEGER NOT NULL CHECK(priority BETWEEN -100 AND 100),
    created_at INTEGER NOT NULL,
    queued_at INTEGER NOT NULL,
    run_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    attempt INTEGER NOT NULL DEFAULT 0 CHECK(attempt >= 0),
    max_attempts INTEGER NOT NULL CHECK(max_attempts >= 1),
    failures INTEGER NOT NULL DEFAULT 0 CHECK(failures >= 0),
    crashes INTEGER NOT NULL DEFAULT 0 CHECK(crashes >= 0),
    is_suspect INTEGER NOT NULL DEFAULT 0 CHECK(is_suspect IN (0, 1)),
    unfinished_dependencies INTEGER NOT NULL DEFAULT 0 CHECK(unfinished_dependencies >= 0),
    threads INTEGER NOT NULL CHECK(threads >= 1),
    memory_bytes INTEGER NOT NULL CHECK(memory_bytes >= 0),
    -- Grows with each claim; a write that names an older one changes nothing.
    fence INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    boot_id TEXT,
    lease_until INTEGER,
    progress TEXT NOT NULL,
    resources TEXT NOT NULL,
    model_id TEXT REFERENCES model(id) ON DELETE SET NULL,
    report TEXT,
    error TEXT,
    version INTEGER NOT NULL DEFAULT 1,
    -- A job gains one priority per ten minutes of waiting; the present time is the same for all.
    urgency INTEGER NOT NULL GENERATED ALWAYS AS (priority * 600000 - queued_at) VIRTUAL,
    CHECK((state IN ('running', 'pausing', 'cancelling')) = (lease_until IS NOT NULL)),
    CHECK((state IN ('running', 'pausing', 'cancelling')) = (boot_id IS NOT NULL)),
    CHECK((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK((state = 'succeeded') = (report IS NOT NULL)),
    CHECK((state = 'failed') = (error IS NOT NULL)),
    CHECK((reason_code IS NULL) = (reason_message IS NULL))
) STRICT;
-- Claiming the most urgent job, and the positions of queued jobs.
CREATE INDEX job_urgency ON job(urgency DESC, id) WHERE state = 'queued';
-- When the next back-off ends.
CREATE INDEX job_due ON job(run_at) WHERE state = 'queued';
-- Recovery at start and expired leases.
CREATE INDEX job_lease ON job(lease_until) WHERE lease_until IS NOT NULL;
-- Lists of jobs in one state, newest first, and the counts by state.
CREATE INDEX job_state ON job(state, id);
-- Deleting a model (foreign key).
CREATE INDEX job_model ON job(model_id) WHERE model_id IS NOT NULL;

CREATE TABLE job_dependency(
    job_id TEXT NOT NULL REFERENCES job(id) ON DELETE CASCADE,
    dependency_id TEXT NOT NULL REFERENCES job(id) ON DELETE CASCADE,
    PRIMARY KEY(job_id, dependency_id),
    CHECK(job_id <> dependency_id)
) STRICT, WITHOUT ROWID;
-- The dependants of a job that ended.
CREATE INDEX job_dependency_reverse ON job_dependency(dependency_id);

CREATE TABLE job_transition(
    job_id TEXT NOT NULL REFERENCES job(id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    state TEXT NOT NULL CHECK(state IN (
        'queued', 'running', 'pausing', 'paused', 'cancelling', 'cancelled', 'succeeded', 'failed')),
    at INTEGER NOT NULL,
    reason_code TEXT,
    reason_message TEXT,
    PRIMARY KEY(job_id, position),
    CHECK((reason_code IS NULL) = (reason_message IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency(
    principal TEXT NOT NULL,
    key TEXT NOT NULL CHECK(length(key) BETWEEN 1 AND 255),
    body_sha256 TEXT NOT NULL CHECK(length(body_sha256) = 64),
    job_id TEXT NOT NULL REFERENCES job(id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    PRIMARY KEY(principal, key)
) STRICT, WITHOUT ROWID;
-- Deleting a job (foreign key).
CREATE INDEX idempotency_job ON idempotency(job_id);
-- Forgetting old keys.
CREATE INDEX idempotency_age ON idempotency(created_at);

CREATE TABLE event(
    job_id TEXT NOT NULL REFERENCES job(id) ON DELETE CASCADE,
    id TEXT NOT NULL CHECK(length(id) = 30),
    at INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    level TEXT NOT NULL CHECK(level IN ('debug', 'info', 'warning', 'error')),
    type TEXT NOT NULL CHECK(length(type) BETWEEN 1 AND 64),
    message TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY(job_id, id)
) STRICT, WITHOUT ROWID;

-- One row per curve: what lists show without touching the points. Not-a-number is NULL.
CREATE TABLE series(
    id INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL REFERENCES job(id) ON DELETE CASCADE,
    name TEXT NOT NULL CHECK(length(name) BETWEEN 1 AND 100),
    count INTEGER NOT NULL,
    last_step INTEGER NOT NULL,
    last REAL,
    min REAL,
    min_step INTEGER NOT NULL,
    max REAL,
    max_step INTEGER NOT NULL,
    UNIQUE(job_id, name)
) STRICT;

CREATE TABLE point(
    series_id INTEGER NOT NULL REFERENCES series(id) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    value REAL,
    at INTEGER NOT NULL,
    PRIMARY KEY(series_id, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE resource_point(
    job_id TEXT NOT NULL REFERENCES job(id) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    step INTEGER NOT NULL,
    cpu_percent REAL,
    rss_bytes REAL,
    arena_bytes REAL,
    samples_per_second REAL,
    gflops REAL,
    mfu REAL,
    data_wait_fraction REAL,
    watts REAL,
    PRIMARY KEY(job_id, at)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoint(
    job_id TEXT NOT NULL REFERENCES job(id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK(kind IN ('last', 'best')),
    step INTEGER NOT NULL CHECK(step >= 0),
    fence INTEGER NOT NULL,
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL CHECK(length(sha256) = 64),
    byte_count INTEGER NOT NULL CHECK(byte_count >= 0),
    at INTEGER NOT NULL,
    PRIMARY KEY(job_id, kind, step)
) STRICT, WITHOUT ROWID;
