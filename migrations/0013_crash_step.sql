-- The step of the newest checkpoint when the job was last taken back: one beyond it clears the job of suspicion.
ALTER TABLE job ADD COLUMN crash_step INTEGER NOT NULL DEFAULT -1;
