-- Maintenance: a window in which commands that write are refused, or those about one object kept until it is over. The clock is
-- the database's. `whoisd maintenance` writes both tables, and every command that writes looks at them first.

CREATE TABLE registry.maintenance (
    single   boolean PRIMARY KEY DEFAULT true CHECK (single),  -- there is one at most
    began    timestamptz NOT NULL DEFAULT clock_timestamp(),
    until    timestamptz NOT NULL,     -- it ends by itself
    why      text NOT NULL CHECK (registry.is_line(why)),
    is_queue boolean NOT NULL          -- whether commands about one object are kept
);

-- What was ordered in a window, in its order; a row goes in the transaction that carries it out, or finds that it no longer can be.
CREATE TABLE registry.queued_order (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    who    text NOT NULL,              -- as in the audit trail
    kind   text NOT NULL CHECK (kind IN ('classify', 'take_over', 'epp')),
    fields jsonb NOT NULL              -- the command as it was understood
);

CREATE VIEW whois.maintenance AS SELECT until, why FROM registry.maintenance WHERE until > clock_timestamp();
COMMENT ON VIEW whois.maintenance IS 'Optional: one row while there is a maintenance window, for metrics, health checks and answers.';
COMMENT ON COLUMN whois.maintenance.until IS 'when the maintenance window ends';
COMMENT ON COLUMN whois.maintenance.why IS 'what it is for, in one line; no answer says it';
GRANT SELECT ON whois.maintenance TO whoisd_reader;
