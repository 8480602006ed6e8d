-- Whether the machine was never heard of. Those of before count as seen.
ALTER TABLE user_record ADD COLUMN never_seen INTEGER NOT NULL DEFAULT 0;
CREATE INDEX user_record_not_connected ON user_record (user) WHERE connected_at IS NULL;
