-- What the coordinator's outer face keeps: keys that end, webhooks with their
-- outbox, the audit log.

ALTER TABLE keys ADD COLUMN expires INTEGER;

CREATE TABLE webhooks (
    id BLOB NOT NULL PRIMARY KEY,
    owner TEXT,
    created INTEGER NOT NULL,
    doc TEXT NOT NULL
);

CREATE TABLE deliveries (
    id BLOB NOT NULL PRIMARY KEY,
    webhook BLOB NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    state TEXT NOT NULL,
    due INTEGER NOT NULL,
    doc TEXT NOT NULL
);
CREATE INDEX deliveries_due ON deliveries (due, id) WHERE state = 'waiting';
CREATE INDEX deliveries_by_webhook ON deliveries (webhook, seq DESC);

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    doc TEXT NOT NULL
);
