-- The heartbeat: when the primary's side last wrote. A standby cannot tell how old its data is when the server that it follows
-- follows another that was cut off; the age of the last heartbeat that it has replayed tells. `whoisd heartbeat` writes it.

CREATE TABLE registry.heartbeat (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),  -- there is one row
    at     timestamptz NOT NULL,
    branch text NOT NULL  -- the server, database and timeline that it was written on: another after a fail-over or a restore
);

CREATE VIEW whois.heartbeat AS SELECT at FROM registry.heartbeat;
COMMENT ON VIEW whois.heartbeat IS 'Optional: one row, by which the age of the data is measured.';
COMMENT ON COLUMN whois.heartbeat.at IS 'when the primary''s side last wrote, by its clock';
GRANT SELECT ON whois.heartbeat TO whoisd_reader;
