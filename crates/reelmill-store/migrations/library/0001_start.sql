-- What is known of the files of libraries. A scan rebuilds it when it is lost; only
-- the history (event, output) is then gone.
CREATE TABLE library (
    id       INTEGER PRIMARY KEY,
    uuid     TEXT NOT NULL UNIQUE,
    -- Where it was seen last, for people and for the alarm; never a key.
    root     BLOB NOT NULL,
    -- The sidecar that says the same as the rows; none while rows are ahead of it.
    snapshot TEXT,
    -- The rules by which the verdicts were reached.
    rules    TEXT
);
CREATE TABLE folder (
    id      INTEGER PRIMARY KEY,
    library INTEGER NOT NULL REFERENCES library (id),
    path    BLOB NOT NULL,
    UNIQUE (library, path)
);
-- All that facts say but length and frame rate: a library has few of these.
CREATE TABLE shape (
    id                 INTEGER PRIMARY KEY,
    facts              TEXT NOT NULL UNIQUE,
    kind               TEXT NOT NULL,
    container          TEXT NOT NULL,
    codec              TEXT,
    width              INTEGER,
    height             INTEGER,
    hdr                TEXT,
    audio_codecs       TEXT NOT NULL,
    audio_languages    TEXT NOT NULL,
    subtitle_languages TEXT NOT NULL
);
CREATE TABLE verdict (
    id       INTEGER PRIMARY KEY,
    verdict  TEXT NOT NULL UNIQUE,
    converts INTEGER NOT NULL
);
CREATE TABLE file (
    id          INTEGER PRIMARY KEY,
    folder      INTEGER NOT NULL REFERENCES folder (id),
    name        BLOB NOT NULL,
    size        INTEGER NOT NULL,
    mtime       INTEGER NOT NULL,
    digest      INTEGER NOT NULL,
    first_seen  INTEGER NOT NULL,
    gone_at     INTEGER,
    shape       INTEGER REFERENCES shape (id),
    duration_ms INTEGER,
    fps_milli   INTEGER,
    failure     TEXT,
    retry       INTEGER NOT NULL DEFAULT 0,
    verdict     INTEGER REFERENCES verdict (id),
    UNIQUE (folder, name)
);
CREATE INDEX file_shape ON file (shape, id) WHERE gone_at IS NULL;
CREATE INDEX file_verdict ON file (verdict, id) WHERE gone_at IS NULL;
CREATE INDEX file_failed ON file (id) WHERE gone_at IS NULL AND failure IS NOT NULL;
CREATE INDEX file_content ON file (digest, size);
-- What happened to files, beyond being found.
CREATE TABLE event (
    id   INTEGER PRIMARY KEY,
    file INTEGER NOT NULL,
    at   INTEGER NOT NULL,
    what TEXT NOT NULL,
    note TEXT NOT NULL
);
CREATE INDEX event_file ON event (file, id);
-- Outputs of conversions, by their content.
CREATE TABLE output (
    digest INTEGER NOT NULL,
    size   INTEGER NOT NULL,
    PRIMARY KEY (digest, size)
) WITHOUT ROWID;
-- Sums, so that statistics need not look at every file.
CREATE TABLE tally (
    library     INTEGER NOT NULL,
    shape       INTEGER,
    verdict     INTEGER,
    files       INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL
);
-- Paths in lower case, found by any part of them.
CREATE VIRTUAL TABLE search USING fts5(path, tokenize = 'trigram', detail = 'none');
