-- Where a job's time goes, layer by layer, as the newest attempt measured it.
CREATE TABLE profile(
    job_id TEXT PRIMARY KEY REFERENCES job(id) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT, WITHOUT ROWID;
