CREATE INDEX user_record_unreachable ON user_record (user) WHERE unreachable_since IS NOT NULL;

-- REPLACE deletes without a DELETE trigger.
CREATE TRIGGER audit_is_appended BEFORE INSERT ON audit
    WHEN EXISTS (SELECT 1 FROM audit WHERE number = new.number)
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
-- Old is what is old both by the newest entry and by this machine's clock: either may be wrong.
DROP TRIGGER audit_is_kept;
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
    WHEN old.at > (SELECT at FROM audit ORDER BY number DESC LIMIT 1) - 31622400000
        OR old.at > unixepoch() * 1000 - 31622400000
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
