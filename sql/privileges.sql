-- What PostgreSQL lets every role do, taken from all but the owner. Run once in each database, as a superuser, before
-- `whoisd migrate` and after a restore; again, it changes nothing:
--
--     psql --dbname=whois -f sql/privileges.sql
--
-- The server's role then can read the views, look at the system catalogs, change its own settings and password, and LISTEN and
-- NOTIFY, which PostgreSQL cannot forbid. It cannot keep anything: no temporary table, no large object, no record in the
-- write-ahead log; it cannot hold up a writer by an advisory lock, end the server's other connections, or run a procedural
-- language.

DO $$
DECLARE
    taken regprocedure;
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO whoisd_reader', current_database());
    FOR taken IN
        SELECT oid::regprocedure
        FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace
            AND (
                proname ~ '^lo_' OR proname IN ('loread', 'lowrite')
                OR proname ~ '^pg_(try_)?advisory_'
                OR proname IN (
                    'pg_logical_emit_message', 'pg_notify', 'pg_export_snapshot', 'pg_cancel_backend', 'pg_terminate_backend',
                    'txid_current', 'pg_current_xact_id'
                )
            )
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', taken);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO whoisd_owner', taken);
    END LOOP;
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;
GRANT USAGE ON LANGUAGE plpgsql TO whoisd_owner, whoisd_auditor;
