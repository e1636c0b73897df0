-- Whether the curves of a job that is over were thinned; another attempt makes them whole again.
ALTER TABLE job ADD COLUMN is_thinned INTEGER NOT NULL DEFAULT 0 CHECK(is_thinned IN (0, 1));
