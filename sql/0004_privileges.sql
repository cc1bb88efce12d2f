-- The reader may SELECT from the two views and do nothing else in this database. The views run with their owner's rights.

DO $$
BEGIN
    -- By default every role may create temporary tables.
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO whoisd_reader', current_database());
END
$$;

-- Databases from before PostgreSQL 15 let every role create objects in `public`. Where the owner of the database does not
-- own that schema, this is for the superuser to do, and PostgreSQL warns.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA registry FROM PUBLIC;
GRANT USAGE ON SCHEMA whois TO whoisd_reader;
GRANT SELECT ON whois.domain, whois.host TO whoisd_reader;
