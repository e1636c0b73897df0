-- Whose rows are still to be cleared away, a few at a time: a job or a webhook that was deleted, or a name under
-- which the curves of a job lie that begins anew.
CREATE TABLE discarded(
    id TEXT PRIMARY KEY CHECK(length(id) = 30)
) STRICT, WITHOUT ROWID;

-- They outlive their owners for a moment, so they refer to them no more. Taking a reference out of a schema's text
-- is what SQLite's documentation names for this: rows are as they were, and large tables need not be copied.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, ' REFERENCES job(id) ON DELETE CASCADE', '')
WHERE type = 'table' AND name IN ('event', 'series', 'resource_point');
UPDATE sqlite_schema SET sql = replace(sql, ' REFERENCES webhook(id) ON DELETE CASCADE', '')
WHERE type = 'table' AND name = 'webhook_delivery';
PRAGMA writable_schema = RESET;
