#!/bin/bash
# Makes the roles and the database in a new PostgreSQL; the image of PostgreSQL runs it once, before anybody can connect.
set -eu
ask() { psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --username="${POSTGRES_USER:-postgres}" "$@"; }

ask --single-transaction --file=/sql/roles.sql
# The passwords by standard input, where no list of processes shows them.
ask <<'SQL'
\getenv owner OWNER_PASSWORD
\getenv reader READER_PASSWORD
ALTER ROLE whoisd_owner PASSWORD :'owner';
ALTER ROLE whoisd_reader PASSWORD :'reader';
CREATE DATABASE whois OWNER whoisd_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8';
SQL
ask --dbname=whois --single-transaction --file=/sql/audit.sql
ask --dbname=whois --file=/sql/privileges.sql
