-- Failures that will not change, and why.
ALTER TABLE outcome ADD COLUMN for_good INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outcome ADD COLUMN note TEXT;
DROP INDEX outcome_content;
CREATE INDEX outcome_content ON outcome (digest, before)
    WHERE came IN ('kept', 'undone', 'converted', 'failed');
