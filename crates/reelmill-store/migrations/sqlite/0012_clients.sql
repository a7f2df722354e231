-- Jobs by the client that knows their source as an item of its own.
ALTER TABLE jobs ADD COLUMN client TEXT;
UPDATE jobs SET client = doc ->> '$.item.client_id' WHERE doc ->> '$.item.client_id' IS NOT NULL;
CREATE INDEX jobs_by_client ON jobs (client, created, id) WHERE client IS NOT NULL;
