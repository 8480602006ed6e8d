-- When the user's machine was last started because of mail.
ALTER TABLE user_record ADD COLUMN started_at INTEGER;
