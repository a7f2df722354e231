-- What is known of the files of libraries: rebuilt by a scan when lost.
CREATE TABLE library (
    id   INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,
    -- Where it was seen last, for people and for the alarm; never a key.
    root BLOB NOT NULL
);
CREATE TABLE file (
    id              INTEGER PRIMARY KEY,
    library         INTEGER NOT NULL REFERENCES library (id),
    path            BLOB NOT NULL,
    size            INTEGER NOT NULL,
    mtime           INTEGER NOT NULL,
    digest          BLOB NOT NULL,
    gone_at         INTEGER,
    failure         TEXT,
    kind            TEXT,
    container       TEXT,
    duration_ms     INTEGER,
    codec           TEXT,
    width           INTEGER,
    height          INTEGER,
    rotation        INTEGER,
    fps_milli       INTEGER,
    bit_depth       INTEGER,
    chroma          TEXT,
    hdr             TEXT,
    audio           TEXT,
    audio_languages TEXT,
    subtitles       TEXT,
    made_by         TEXT,
    UNIQUE (library, path)
);
CREATE INDEX file_codec ON file (codec, id) WHERE gone_at IS NULL;
CREATE INDEX file_hdr ON file (hdr, id) WHERE gone_at IS NULL AND hdr IS NOT NULL AND hdr <> 'none';
