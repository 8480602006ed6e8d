CREATE INDEX user_record_unreachable ON user_record (user_id) WHERE unreachable_since IS NOT NULL;

-- Old is what is old both by the newest entry and by the server's clock: either may be wrong.
CREATE OR REPLACE FUNCTION refuse_change_of_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE'
        AND OLD.at <= (SELECT at FROM audit ORDER BY number DESC LIMIT 1) - 31622400000
        AND OLD.at <= extract(epoch FROM now()) * 1000 - 31622400000
    THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only';
END $$;
CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit();
