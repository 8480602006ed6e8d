-- Up to where a user's mail was delivered. Apart from the record, which a mail therefore does not change.
CREATE TABLE progress (
    user       TEXT NOT NULL PRIMARY KEY,
    history_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO progress SELECT user, history_id FROM user_record WHERE history_id IS NOT NULL;
ALTER TABLE user_record DROP COLUMN history_id;
CREATE VIEW user_with_progress AS
    SELECT user_record.*, progress.history_id FROM user_record LEFT JOIN progress USING (user);
