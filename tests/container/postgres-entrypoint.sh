#!/bin/bash
# As the image of PostgreSQL does: a new folder is made a cluster, whose scripts run before anybody can connect over TCP.
set -eu
if [ "$(id -u)" = 0 ]; then
    chown postgres "$PGDATA" && chmod 700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username=postgres --auth-local=trust --auth-host=scram-sha-256 --pwfile=<(echo "$POSTGRES_PASSWORD") > /dev/null
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait --silent --options="-c listen_addresses=''" start
    for script in /docker-entrypoint-initdb.d/*.sh; do "$script"; done
    pg_ctl --wait --silent --mode=fast stop
fi
exec postgres -c listen_addresses='*'
