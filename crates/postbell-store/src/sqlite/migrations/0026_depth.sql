-- A table in the order in which rows were added: mailboxes that began to wait one after the other lie on one page, and are claimed
-- and delivered together. By the name of the user, each of them was on a page of its own.
DROP INDEX pending_by_due;
DROP INDEX pending_waiting;
DROP INDEX pending_failing;
DROP INDEX pending_parked;
ALTER TABLE pending RENAME TO pending_by_user;
CREATE TABLE pending (
    id                   INTEGER NOT NULL PRIMARY KEY,
    user                 TEXT    NOT NULL UNIQUE,
    -- The notification; all NULL if none waits.
    message_id           TEXT,
    history_id           TEXT,
    address              TEXT,
    published_at         INTEGER,
    accepted_at          INTEGER,
    -- Further messages with the same history id, separated by spaces.
    merged_ids           TEXT    NOT NULL DEFAULT '',
    -- The trace of the mail (W3C traceparent), which its delivery continues.
    trace                TEXT,
    attempt              INTEGER NOT NULL DEFAULT 0,
    -- When the mailbox began to wait; a newer notification does not change it, nor this index.
    waiting_since        INTEGER,
    -- When it may be claimed; the end of the lease while it is claimed.
    due_at               INTEGER,
    -- Until then only a check-in makes the mailbox due.
    cooldown_until       INTEGER NOT NULL DEFAULT 0,
    leased_until         INTEGER NOT NULL DEFAULT 0,
    lease                INTEGER NOT NULL DEFAULT 0,
    -- The relay that has the lease.
    holder               INTEGER,
    consecutive_failures INTEGER NOT NULL DEFAULT 0,
    failing_since        INTEGER,
    parked_for           TEXT,
    checked_in_at        INTEGER NOT NULL DEFAULT 0,
    body                 BLOB
) STRICT;
INSERT INTO pending (user, message_id, history_id, address, published_at, accepted_at, merged_ids, trace, attempt,
        waiting_since, due_at, cooldown_until, leased_until, lease, holder, consecutive_failures, failing_since,
        parked_for, checked_in_at, body)
    SELECT user, message_id, history_id, address, published_at, accepted_at, merged_ids, trace, attempt,
        waiting_since, due_at, cooldown_until, leased_until, lease, holder, consecutive_failures, failing_since,
        parked_for, checked_in_at, body
    FROM pending_by_user ORDER BY waiting_since;
DROP TABLE pending_by_user;
CREATE INDEX pending_by_due ON pending (due_at, user) WHERE due_at IS NOT NULL;
CREATE INDEX pending_waiting ON pending (waiting_since) WHERE due_at IS NOT NULL;
CREATE INDEX pending_failing ON pending (failing_since, user, due_at)
    WHERE failing_since IS NOT NULL AND due_at IS NOT NULL;
CREATE INDEX pending_parked ON pending (parked_for) WHERE parked_for IS NOT NULL;

-- One row: the numbers of mailboxes that wait, fail and are parked, and of dead letters, so that nothing has to be counted.
CREATE TABLE depth (
    waiting      INTEGER NOT NULL,
    failing      INTEGER NOT NULL,
    parked       INTEGER NOT NULL,
    dead_letters INTEGER NOT NULL
) STRICT;
INSERT INTO depth SELECT
    (SELECT count(*) FROM pending WHERE due_at IS NOT NULL),
    (SELECT count(*) FROM pending WHERE due_at IS NOT NULL AND failing_since IS NOT NULL),
    (SELECT count(*) FROM pending WHERE parked_for IS NOT NULL),
    (SELECT count(*) FROM dead_letter);
CREATE TRIGGER pending_added AFTER INSERT ON pending BEGIN
    UPDATE depth SET
        waiting = waiting + (new.due_at IS NOT NULL),
        failing = failing + (new.due_at IS NOT NULL AND new.failing_since IS NOT NULL),
        parked = parked + (new.parked_for IS NOT NULL);
END;
CREATE TRIGGER pending_removed AFTER DELETE ON pending BEGIN
    UPDATE depth SET
        waiting = waiting - (old.due_at IS NOT NULL),
        failing = failing - (old.due_at IS NOT NULL AND old.failing_since IS NOT NULL),
        parked = parked - (old.parked_for IS NOT NULL);
END;
CREATE TRIGGER pending_changed AFTER UPDATE OF due_at, failing_since, parked_for ON pending
WHEN (old.due_at IS NULL) <> (new.due_at IS NULL) OR (old.failing_since IS NULL) <> (new.failing_since IS NULL)
    OR (old.parked_for IS NULL) <> (new.parked_for IS NULL)
BEGIN
    UPDATE depth SET
        waiting = waiting + (new.due_at IS NOT NULL) - (old.due_at IS NOT NULL),
        failing = failing + (new.due_at IS NOT NULL AND new.failing_since IS NOT NULL)
            - (old.due_at IS NOT NULL AND old.failing_since IS NOT NULL),
        parked = parked + (new.parked_for IS NOT NULL) - (old.parked_for IS NOT NULL);
END;
CREATE TRIGGER dead_letter_added AFTER INSERT ON dead_letter BEGIN
    UPDATE depth SET dead_letters = dead_letters + 1;
END;
CREATE TRIGGER dead_letter_removed AFTER DELETE ON dead_letter BEGIN
    UPDATE depth SET dead_letters = dead_letters - 1;
END;
