-- One index in place of two: each push and each claim writes an entry into every index of the table. How long the mailboxes
-- have waited is counted with them, from the index alone.
DROP INDEX pending_by_due;
CREATE INDEX pending_by_due ON pending (due_at, user_id) INCLUDE (waiting_since) WHERE due_at IS NOT NULL;
DROP INDEX pending_waiting;
