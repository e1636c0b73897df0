-- The files of a dataset that is being uploaded: a row of `dataset` that is not ready yet.
-- Names are what clients call them, and texts only; paths are made by the server.
CREATE TABLE dataset_file(
    dataset_id TEXT NOT NULL REFERENCES dataset(id) ON DELETE CASCADE,
    name TEXT NOT NULL CHECK(length(name) BETWEEN 1 AND 255),
    path TEXT NOT NULL UNIQUE,
    byte_count INTEGER NOT NULL CHECK(byte_count >= 0),
    sha256 TEXT NOT NULL CHECK(length(sha256) = 64),
    created_at INTEGER NOT NULL,
    PRIMARY KEY(dataset_id, name)
) STRICT, WITHOUT ROWID;
-- Open uploads: how many there are, and which were left.
CREATE INDEX dataset_open ON dataset(id) WHERE is_ready = 0;
