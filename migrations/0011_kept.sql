-- A key of an idempotent request outlives its job, so that the request does not make a second one.
ALTER TABLE idempotency ADD COLUMN is_job_deleted INTEGER NOT NULL DEFAULT 0 CHECK(is_job_deleted IN (0, 1));

-- As in 0009: a reference is taken out of a schema's text, and a check allows one word more.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, ' REFERENCES job(id) ON DELETE CASCADE', '')
WHERE type = 'table' AND name = 'idempotency';
UPDATE sqlite_schema SET sql = replace(sql, '(''last'', ''best'')', '(''last'', ''best'', ''kept'')')
WHERE type = 'table' AND name = 'checkpoint';
PRAGMA writable_schema = RESET;

-- Jobs that are over, by when they ended.
CREATE INDEX job_finished ON job(finished_at, id) WHERE finished_at IS NOT NULL;
