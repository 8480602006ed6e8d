-- The user whose further Google account this is; NULL for a user. Whether the machine watches several accounts.
ALTER TABLE user_record ADD COLUMN owner text COLLATE "C" CHECK (owner <> user_id);
ALTER TABLE user_record ADD COLUMN several_accounts bool NOT NULL DEFAULT false;
CREATE INDEX user_record_by_owner ON user_record (owner, connected_at, user_id) WHERE owner IS NOT NULL;

-- Users are counted, their further accounts are not. Code before this version would take a further account for a user without
-- a machine. It can use a database that has none.
CREATE OR REPLACE FUNCTION count_added_users() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE user_count SET number = number + (SELECT count(*) FROM added WHERE owner IS NULL)
    WHERE EXISTS (SELECT FROM added WHERE owner IS NULL);
    UPDATE schema_version SET min_version = 9
    WHERE min_version < 9 AND EXISTS (SELECT FROM added WHERE owner IS NOT NULL);
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION count_removed_users() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE user_count SET number = number - (SELECT count(*) FROM removed WHERE owner IS NULL)
    WHERE EXISTS (SELECT FROM removed WHERE owner IS NULL);
    RETURN NULL;
END $$;
