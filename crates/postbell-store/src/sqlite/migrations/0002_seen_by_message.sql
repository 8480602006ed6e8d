-- Pub/Sub's message ids grow with time: in this order, those that come together lie together,
-- and a commit of many touches few pages.
CREATE TABLE seen_in_order (
    message_id TEXT    NOT NULL,
    user       TEXT    NOT NULL,
    seen_at    INTEGER NOT NULL,
    PRIMARY KEY (message_id, user)
) STRICT, WITHOUT ROWID;
INSERT INTO seen_in_order SELECT message_id, user, seen_at FROM seen;
DROP TABLE seen;
ALTER TABLE seen_in_order RENAME TO seen;
CREATE INDEX seen_by_time ON seen (seen_at);
