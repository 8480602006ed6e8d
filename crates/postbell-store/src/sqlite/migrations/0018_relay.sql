-- The processes that claim, and when each said last that it lives.
CREATE TABLE relay (
    id       INTEGER NOT NULL PRIMARY KEY,
    beats_at INTEGER NOT NULL
) STRICT;
-- The relay that has the lease.
ALTER TABLE pending ADD COLUMN holder INTEGER;
