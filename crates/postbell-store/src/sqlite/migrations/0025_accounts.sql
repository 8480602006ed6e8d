-- The user whose further Google account this is; NULL for a user. Whether the machine watches several accounts.
ALTER TABLE user_record ADD COLUMN owner TEXT;
ALTER TABLE user_record ADD COLUMN several_accounts INTEGER NOT NULL DEFAULT 0;
CREATE INDEX user_record_by_owner ON user_record (owner, connected_at, user) WHERE owner IS NOT NULL;

-- Users are counted, their further accounts are not.
DROP TRIGGER user_added;
DROP TRIGGER user_removed;
CREATE TRIGGER user_added AFTER INSERT ON user_record WHEN new.owner IS NULL
    BEGIN UPDATE user_count SET number = number + 1; END;
CREATE TRIGGER user_removed AFTER DELETE ON user_record WHEN old.owner IS NULL
    BEGIN UPDATE user_count SET number = number - 1; END;

-- Code before this version would take a further account for a user without a machine. It can use a file that has none.
CREATE TRIGGER account_added AFTER INSERT ON user_record WHEN new.owner IS NOT NULL
    BEGIN UPDATE compatibility SET min_version = max(min_version, 25); END;
