-- How many jobs are paused, of one token and in all.
CREATE INDEX job_paused ON job(submitter) WHERE state = 'paused';
