-- What a claim wants to know of a task's job, so that it need not read the job.
ALTER TABLE tasks ADD COLUMN priority INTEGER NOT NULL DEFAULT 50;
ALTER TABLE tasks ADD COLUMN created INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN bytes INTEGER;
UPDATE tasks SET (priority, created, bytes) =
    (SELECT jobs.priority, jobs.created, jobs.doc ->> '$.source.bytes' FROM jobs
     WHERE jobs.id = tasks.job);
