-- How many jobs that it depended on were deleted without having succeeded: such a job cannot start any more.
ALTER TABLE job ADD COLUMN lost_dependencies INTEGER NOT NULL DEFAULT 0;
