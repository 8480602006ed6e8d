-- Since when a machine at a URL does not answer, and when a machine last fetched its configuration.
ALTER TABLE user_record ADD COLUMN unreachable_since INTEGER;
ALTER TABLE user_record ADD COLUMN config_fetched_at INTEGER;
