-- Tables get the names that the code and the documents use.
ALTER TABLE instance RENAME TO user_record;
ALTER TABLE instance_count RENAME TO user_count;
DROP TRIGGER IF EXISTS instance_added;
DROP TRIGGER IF EXISTS instance_removed;
CREATE TRIGGER user_added AFTER INSERT ON user_record
    BEGIN UPDATE user_count SET number = number + 1; END;
CREATE TRIGGER user_removed AFTER DELETE ON user_record
    BEGIN UPDATE user_count SET number = number - 1; END;
DROP INDEX IF EXISTS instance_by_sandbox;
DROP INDEX IF EXISTS instance_by_email;
DROP INDEX IF EXISTS instance_by_machine;
DROP INDEX IF EXISTS instance_untold;
CREATE UNIQUE INDEX user_record_by_sandbox ON user_record (sandbox_id);
CREATE INDEX user_record_by_email ON user_record (email, user) WHERE email IS NOT NULL;
CREATE INDEX user_record_by_machine ON user_record (app, machine) WHERE app IS NOT NULL;
CREATE INDEX user_record_pending_sync ON user_record (user) WHERE pending_sync IS NOT NULL;
ALTER TABLE seen RENAME TO seen_message;
DROP INDEX IF EXISTS seen_by_time;
CREATE INDEX seen_message_by_time ON seen_message (seen_at);

-- What keeps mail from reaching the bot, and since when, as the machine reported; NULL if nothing does.
ALTER TABLE user_record ADD COLUMN problem_code TEXT;
ALTER TABLE user_record ADD COLUMN problem_since INTEGER;
CREATE INDEX user_record_by_problem ON user_record (problem_code) WHERE problem_code IS NOT NULL;

-- The problem for which the pending notification is parked; NULL if it is not.
ALTER TABLE mailbox ADD COLUMN parked_for TEXT;
-- When the machine last checked in without a problem.
ALTER TABLE mailbox ADD COLUMN checked_in_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX mailbox_parked ON mailbox (parked_for) WHERE parked_for IS NOT NULL;

-- One row: the latest time at which something was scheduled. A time before it shows that the clock was
-- ahead.
CREATE TABLE queue_clock (latest INTEGER NOT NULL) STRICT;
INSERT INTO queue_clock VALUES (0);

-- One row: how many dead letters were deleted because their user had too many.
CREATE TABLE dead_letter_dropped (number INTEGER NOT NULL) STRICT;
INSERT INTO dead_letter_dropped VALUES (0);

-- One row at most, of the size of the largest push: written to find out whether the disk is still full.
CREATE TABLE write_probe (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
