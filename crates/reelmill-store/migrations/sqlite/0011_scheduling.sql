-- Who tries a task beside its first worker, and whose job it is: owners take
-- turns, so each is looked at by himself.
ALTER TABLE tasks ADD COLUMN rival BLOB;
ALTER TABLE tasks ADD COLUMN owner TEXT NOT NULL DEFAULT '';
UPDATE tasks SET owner = ifnull((SELECT owner FROM jobs WHERE jobs.id = tasks.job), '');
CREATE INDEX tasks_rival ON tasks (rival) WHERE state = 'leased' AND rival IS NOT NULL;
DROP INDEX tasks_ready;
CREATE INDEX tasks_ready ON tasks (class, pin, owner, rank, weight DESC, due) WHERE state = 'ready';
