-- The secret before the last, which signs beside it for a while: receivers change theirs at leisure.
ALTER TABLE webhook ADD COLUMN old_secret BLOB;
ALTER TABLE webhook ADD COLUMN old_secret_until INTEGER
    CHECK((old_secret IS NULL) = (old_secret_until IS NULL));

-- What a message said stays for a while after it was sent, so that it can be sent once more. The body comes
-- last, so that looking at the other columns does not read through it.
CREATE TABLE webhook_message(
    webhook_id TEXT NOT NULL REFERENCES webhook(id) ON DELETE CASCADE,
    id TEXT NOT NULL CHECK(length(id) = 30),
    type TEXT NOT NULL,
    -- No reference: what was told of a job outlives it.
    job_id TEXT,
    created_at INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK(state IN ('pending', 'delivered', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0 CHECK(attempts >= 0),
    next_at INTEGER,
    last_at INTEGER,
    status INTEGER,
    error TEXT,
    -- Of the body; 0 when it is forgotten.
    byte_count INTEGER NOT NULL CHECK(byte_count >= 0),
    body TEXT,
    PRIMARY KEY(webhook_id, id),
    CHECK((state = 'pending') = (next_at IS NOT NULL)),
    CHECK(state <> 'pending' OR body IS NOT NULL),
    CHECK((byte_count = 0) = (body IS NULL))
) STRICT, WITHOUT ROWID;

INSERT INTO webhook_message
SELECT webhook_id, id, type, job_id, created_at, state, attempts, next_at, last_at, status, error,
    coalesce(length(CAST(body AS BLOB)), 0), body
FROM webhook_delivery;

DROP TABLE webhook_delivery;
ALTER TABLE webhook_message RENAME TO webhook_delivery;
-- What is to be sent next, and how much waits.
CREATE INDEX webhook_delivery_due ON webhook_delivery(webhook_id, next_at, id, byte_count, state)
    WHERE state = 'pending';
-- What is remembered, and how much of it.
CREATE INDEX webhook_delivery_over ON webhook_delivery(webhook_id, id, byte_count, state)
    WHERE state <> 'pending';
