-- A user is found by every spelling of a Gmail address (EmailAddress::mailbox_key). The query repeats
-- this expression (user.rs), which is what makes SQLite use the index.
CREATE INDEX user_record_by_mailbox ON user_record (
    CASE
        WHEN substr(email, -10) = '@gmail.com'
            THEN replace(substr(email, 1, length(email) - 10), '.', '') || '@gmail.com'
        WHEN substr(email, -15) = '@googlemail.com'
            THEN replace(substr(email, 1, length(email) - 15), '.', '') || '@gmail.com'
        ELSE email
    END
) WHERE email IS NOT NULL;
