-- Dolby Vision and HDR10+, as the first pictures have them. Files that an earlier
-- version looked at have none here; the next scan looks at them again.
ALTER TABLE shape ADD COLUMN dv_profile INTEGER;
ALTER TABLE shape ADD COLUMN dv_layer TEXT;
ALTER TABLE shape ADD COLUMN dv_levels TEXT NOT NULL DEFAULT ' ';
ALTER TABLE shape ADD COLUMN hdr10plus INTEGER NOT NULL DEFAULT 0;
