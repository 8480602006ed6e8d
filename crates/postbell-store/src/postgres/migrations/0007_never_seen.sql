-- Whether the machine was never heard of. Those of before count as seen.
ALTER TABLE user_record ADD COLUMN never_seen boolean NOT NULL DEFAULT false;
CREATE INDEX user_record_not_connected ON user_record (user_id) WHERE connected_at IS NULL;
