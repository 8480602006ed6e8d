-- When the latest settled message of the mailbox was published; NULL covers nothing. Of a delivery of
-- before, only that it took less than two minutes is known.
ALTER TABLE cursor ADD COLUMN published_at INTEGER;
UPDATE cursor SET published_at = settled_at - 120000;
