-- When Gmail's watch ends; NULL where the machine has not said.
ALTER TABLE instance ADD COLUMN watch_expires_at INTEGER;
