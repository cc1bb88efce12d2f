-- The audit trail: every write of whoisd's commands, who did it and why. Run once in each database, as a superuser, before
-- `whoisd migrate`; again, it changes nothing:
--
--     psql --dbname=whois -f sql/audit.sql
--
-- It belongs to a role that nobody can log in as or become. The software's owner may add to it and read it; PostgreSQL
-- refuses it everything else, and the triggers refuse superusers too. What says when and as which role is written by
-- PostgreSQL itself.

DO $$
BEGIN
    CREATE ROLE whoisd_auditor NOLOGIN;
EXCEPTION WHEN duplicate_object THEN
    NULL;  -- roles are the cluster's, and another database has been here
END
$$;

CREATE SCHEMA IF NOT EXISTS audit AUTHORIZATION whoisd_auditor;
ALTER SCHEMA audit OWNER TO whoisd_auditor;  -- whoever made it

SET ROLE whoisd_auditor;

CREATE TABLE IF NOT EXISTS audit.entry (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    login    text NOT NULL DEFAULT session_user,  -- the role that was logged in
    who      text NOT NULL,                       -- staff:NAME, user:HANDLE or, of the operating system, account:NAME
    command  text NOT NULL,                       -- as in `registrant classify`
    object   text NOT NULL,                       -- what it was done to, as in registrant:HANDLE
    evidence text,
    before   jsonb,
    after    jsonb,
    account  text NOT NULL                        -- the operating system's account that ran the command for them
);
CREATE INDEX IF NOT EXISTS entry_object_idx ON audit.entry (object, id);

CREATE OR REPLACE FUNCTION audit.refuse() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE insufficient_privilege USING MESSAGE = 'the audit trail is added to, and never changed';
END
$$;
CREATE OR REPLACE TRIGGER added_to_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.entry
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse();

RESET ROLE;

REVOKE ALL ON FUNCTION audit.refuse FROM PUBLIC;
GRANT USAGE ON SCHEMA audit TO whoisd_owner;
GRANT SELECT, INSERT (who, command, object, evidence, before, after, account) ON audit.entry TO whoisd_owner;
