"""PostgreSQL: which host serves, the lookups of the server, migrations, and the transactions of those that write."""
