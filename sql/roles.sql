-- The two roles of whoisd. Run once for each PostgreSQL cluster, as a superuser:
--
--     psql -f sql/roles.sql
--     createdb --owner=whoisd_owner --template=template0 --encoding=UTF8 --locale=C.UTF-8 whois
--     psql --dbname=whois -f sql/audit.sql
--
-- How they log in (pg_hba.conf, passwords) is the administrator's to choose; none is set here.

-- Owns the schemas: `whoisd migrate` and `whoisd load` connect as this role.
CREATE ROLE whoisd_owner LOGIN;

-- Reads the views: the server and the report connect as this role. Migrations grant it SELECT on them and nothing else.
CREATE ROLE whoisd_reader LOGIN NOINHERIT;
ALTER ROLE whoisd_reader SET default_transaction_read_only = on;
-- An answer is wanted within two seconds; a lookup that takes one is stuck behind a lock, and is given up.
ALTER ROLE whoisd_reader SET statement_timeout = '1s';
ALTER ROLE whoisd_reader SET idle_in_transaction_session_timeout = '5s';
-- A lookup touches a few rows by their keys: planning it as machine code costs more than running it.
ALTER ROLE whoisd_reader SET jit = off;
