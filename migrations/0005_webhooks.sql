-- Whom to tell of jobs. The secret is kept as it is, because it signs; the file is its owner's alone.
CREATE TABLE webhook(
    id TEXT PRIMARY KEY CHECK(length(id) = 30),
    url TEXT NOT NULL CHECK(length(url) BETWEEN 1 AND 2048),
    -- What it is told of, joined by commas.
    topics TEXT NOT NULL,
    secret BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    -- Attempts that failed since the last one that did not.
    failures INTEGER NOT NULL DEFAULT 0 CHECK(failures >= 0),
    failing_since INTEGER,
    -- Nothing is sent before.
    retry_at INTEGER NOT NULL DEFAULT 0,
    disabled_at INTEGER,
    disabled_reason TEXT,
    CHECK((failures = 0) = (failing_since IS NULL)),
    CHECK((disabled_at IS NULL) = (disabled_reason IS NULL))
) STRICT;

-- What is to be told, written with the change that it tells of; and what became of it.
CREATE TABLE webhook_delivery(
    webhook_id TEXT NOT NULL REFERENCES webhook(id) ON DELETE CASCADE,
    id TEXT NOT NULL CHECK(length(id) = 30),
    type TEXT NOT NULL,
    -- No reference: what was told of a job outlives it.
    job_id TEXT,
    created_at INTEGER NOT NULL,
    -- Forgotten when nothing is left to be sent.
    body TEXT,
    state TEXT NOT NULL DEFAULT 'pending' CHECK(state IN ('pending', 'delivered', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0 CHECK(attempts >= 0),
    next_at INTEGER,
    last_at INTEGER,
    status INTEGER,
    error TEXT,
    PRIMARY KEY(webhook_id, id),
    CHECK((state = 'pending') = (next_at IS NOT NULL)),
    CHECK((state = 'pending') = (body IS NOT NULL))
) STRICT, WITHOUT ROWID;
-- What is to be sent next.
CREATE INDEX webhook_delivery_due ON webhook_delivery(webhook_id, next_at) WHERE state = 'pending';
