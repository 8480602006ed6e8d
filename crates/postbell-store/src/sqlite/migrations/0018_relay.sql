-- The processes that claim, and the last heartbeat of each.
CREATE TABLE relay (
    id           INTEGER NOT NULL PRIMARY KEY,
    heartbeat_at INTEGER NOT NULL
) STRICT;
-- The relay that has the lease.
ALTER TABLE pending ADD COLUMN holder INTEGER;
