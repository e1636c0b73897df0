-- Places in the queue are counted without reading the jobs that stand before.
DROP INDEX job_urgency;
CREATE INDEX job_urgency ON job(urgency DESC, id, unfinished_dependencies, run_at) WHERE state = 'queued';
