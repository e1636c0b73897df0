-- Whose token submitted a job; empty for jobs from before, and for those that no token submitted.
ALTER TABLE job ADD COLUMN submitter TEXT NOT NULL DEFAULT '';
-- How many jobs of one token wait.
CREATE INDEX job_submitter ON job(submitter) WHERE state = 'queued';
