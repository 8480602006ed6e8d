-- How many deliveries in a row have failed, and since when, whatever starts the schedule over.
ALTER TABLE mailbox ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE mailbox ADD COLUMN failing_since INTEGER;
UPDATE mailbox SET failed = failures, failing_since = accepted_at
    WHERE failures > 0 AND due_at IS NOT NULL;
DROP INDEX mailbox_failing;
CREATE INDEX mailbox_failing ON mailbox (failing_since, user, due_at)
    WHERE failing_since IS NOT NULL AND due_at IS NOT NULL;
-- What waits is counted here, and what waits longest is found: not in the rows, which have the
-- bodies in them.
CREATE INDEX mailbox_waiting ON mailbox (accepted_at) WHERE due_at IS NOT NULL;
