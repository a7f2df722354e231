-- Ids are 16 bytes; times are microseconds since 1970 (UTC). `doc` holds the
-- whole record as JSON and is what counts; the columns beside it are there to
-- be searched by.

CREATE TABLE jobs (
    id BLOB NOT NULL PRIMARY KEY,
    owner TEXT,
    idempotency_key TEXT,
    state TEXT NOT NULL,
    priority INTEGER NOT NULL,
    created INTEGER NOT NULL,
    doc TEXT NOT NULL
);
CREATE INDEX jobs_by_age ON jobs (created, id);
CREATE INDEX jobs_by_state ON jobs (state, created, id);
CREATE INDEX jobs_by_owner ON jobs (owner, created, id) WHERE owner IS NOT NULL;
CREATE UNIQUE INDEX jobs_by_key ON jobs (ifnull(owner, ''), idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE TABLE job_labels (
    job BLOB NOT NULL REFERENCES jobs ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (key, value, created, job)
) WITHOUT ROWID;
CREATE INDEX job_labels_by_job ON job_labels (job);

CREATE TABLE plans (
    job BLOB NOT NULL REFERENCES jobs ON DELETE CASCADE,
    generation INTEGER NOT NULL,
    doc TEXT NOT NULL,
    PRIMARY KEY (job, generation)
);

CREATE TABLE tasks (
    job BLOB NOT NULL REFERENCES jobs ON DELETE CASCADE,
    generation INTEGER NOT NULL,
    number INTEGER NOT NULL,
    stage INTEGER NOT NULL,
    state TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    -- Which workers can take it: house work, or by encoder; and of those, the
    -- ones with this build of it (empty: any).
    class TEXT NOT NULL,
    pin TEXT NOT NULL,
    -- Where its job stands in the queue (lowest first); then the heaviest task.
    rank INTEGER NOT NULL,
    weight INTEGER NOT NULL,
    -- When time alone changes it: a pause is over, a lease may end.
    due INTEGER,
    worker BLOB,
    doc TEXT NOT NULL,
    PRIMARY KEY (job, generation, number)
);
CREATE INDEX tasks_by_stage ON tasks (job, generation, stage, state);
CREATE INDEX tasks_ready ON tasks (class, pin, rank, weight DESC, due) WHERE state = 'ready';
CREATE INDEX tasks_paused ON tasks (due) WHERE state = 'ready';
CREATE INDEX tasks_leased ON tasks (due) WHERE state = 'leased';
CREATE INDEX tasks_held ON tasks (worker) WHERE state = 'leased';
CREATE INDEX tasks_failed ON tasks (job, generation, number) WHERE state = 'failed';

CREATE TABLE history (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    job BLOB NOT NULL REFERENCES jobs ON DELETE CASCADE,
    generation INTEGER,
    number INTEGER,
    at INTEGER NOT NULL,
    event TEXT NOT NULL
);
CREATE INDEX history_by_job ON history (job, seq);

CREATE TABLE workers (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    session BLOB NOT NULL,
    seen INTEGER NOT NULL,
    state TEXT NOT NULL,
    doc TEXT NOT NULL
);

CREATE TABLE blobs (
    id BLOB NOT NULL PRIMARY KEY,
    job BLOB REFERENCES jobs ON DELETE SET NULL,
    created INTEGER NOT NULL,
    -- Since when it has belonged to no job, if it belongs to none.
    loose_since INTEGER NOT NULL,
    role TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    sha512 TEXT NOT NULL
);
CREATE INDEX blobs_by_job ON blobs (job, created, id) WHERE job IS NOT NULL;
CREATE INDEX blobs_loose ON blobs (loose_since, id) WHERE job IS NULL;

CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    hash TEXT NOT NULL,
    created INTEGER NOT NULL,
    revoked INTEGER
);

CREATE TABLE meta (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
