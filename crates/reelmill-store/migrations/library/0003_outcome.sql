-- What came of conversions, read from the ledgers that lie in the libraries. A lost cache
-- reads them again.
CREATE TABLE ledger (
    library INTEGER NOT NULL,
    name    TEXT NOT NULL,
    -- So much of it was read.
    bytes   INTEGER NOT NULL,
    PRIMARY KEY (library, name)
) WITHOUT ROWID;
CREATE TABLE outcome (
    id      INTEGER PRIMARY KEY,
    library INTEGER NOT NULL,
    ledger  TEXT NOT NULL,
    at      INTEGER NOT NULL,
    machine TEXT NOT NULL,
    path    BLOB NOT NULL,
    digest  INTEGER NOT NULL,
    before  INTEGER NOT NULL,
    after   INTEGER,
    came    TEXT NOT NULL,
    preset  TEXT NOT NULL,
    how     TEXT NOT NULL
);
CREATE INDEX outcome_content ON outcome (digest, before) WHERE came IN ('kept', 'undone', 'converted');
CREATE INDEX outcome_path ON outcome (library, path);
