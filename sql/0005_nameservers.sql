-- A domain's name servers are a list in its own row, in delegation order, instead of rows of a table of their own: of 1.3
-- million domains that table had 3 million rows with two foreign keys and three indexes, which were most of what a load cost,
-- and the answer for a domain had to collect them. What its foreign keys held, two triggers hold here.
--
-- The domains are copied into a new table, so that the server goes on reading the old one until the very end of this.

LOCK TABLE registry.domain, registry.delegation IN SHARE MODE;

-- The same checks as before, in a form that costs a third: one expression instead of a query or a look-around for each value.
CREATE OR REPLACE FUNCTION registry.is_dns_name(value text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN value ~ '^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$'
        AND value !~ '[^.]{64}' AND length(value) <= 253;

-- For the lines of a street, of which there are at most 3.
CREATE OR REPLACE FUNCTION registry.are_lines(list text[]) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN array_position(list, NULL) IS NULL AND coalesce(array_lower(list, 1), 1) = 1 AND (cardinality(list) = 0 OR registry.is_line(list[1]))
        AND (cardinality(list) < 2 OR registry.is_line(list[2])) AND (cardinality(list) < 3 OR registry.is_line(list[3]));

-- Up to 7 hosts, none of them twice. That each is a host, and so a name, `registry.add_hosts` sees to. (A query in place of
-- the six comparisons would be shorter, and cost as much as all else of a row that is written.)
CREATE FUNCTION registry.are_nameservers(list text[]) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN cardinality(list) = 0 THEN true
        WHEN array_ndims(list) > 1 THEN false
        ELSE array_lower(list, 1) = 1 AND cardinality(list) <= 7 AND array_position(list, NULL) IS NULL
            AND list[1] <> ALL (list[2:]) AND list[2] <> ALL (list[3:]) AND list[3] <> ALL (list[4:])
            AND list[4] <> ALL (list[5:]) AND list[5] <> ALL (list[6:]) AND list[6] <> ALL (list[7:])
    END;

CREATE TABLE registry.new_domain (
    name         text COLLATE "C" NOT NULL,
    status       text NOT NULL,
    registered   date,  -- dates are in the registry's local time, Europe/Copenhagen
    expires      date,
    delete_date  date,
    period_years integer,
    vid          boolean NOT NULL DEFAULT false,
    dnssec       boolean NOT NULL DEFAULT false,
    registrar    text COLLATE "C",  -- set under registrar management
    registrant   text COLLATE "C",
    nameservers  text[] COLLATE "C" NOT NULL DEFAULT '{}',  -- in delegation order; an active domain has 2 to 7
    CONSTRAINT domain_name_check CHECK (name ~ '^[a-z0-9]([a-z0-9-]*[a-z0-9])?\.dk$' AND length(name) <= 66),
    CONSTRAINT domain_status_check CHECK (status IN ('active', 'deactivated', 'reserved', 'offered_to_waiting_list')),
    CONSTRAINT domain_registered_check CHECK (registry.is_day(registered)),
    CONSTRAINT domain_expires_check CHECK (registry.is_day(expires)),
    CONSTRAINT domain_delete_date_check CHECK (registry.is_day(delete_date)),
    CONSTRAINT domain_period_years_check CHECK (period_years IN (1, 2, 3, 5)),
    CONSTRAINT domain_nameservers_check CHECK (registry.are_nameservers(nameservers)),
    CONSTRAINT dates_in_order CHECK (registered <= expires AND registered <= delete_date),
    CONSTRAINT registered_or_offered CHECK (
        CASE WHEN status = 'offered_to_waiting_list'
             THEN num_nonnulls(registered, expires, registrant) = 0
             ELSE num_nulls(registered, expires, period_years, registrant) = 0
        END)
);

INSERT INTO registry.new_domain
SELECT
    d.name, d.status, d.registered, d.expires, d.delete_date, d.period_years, d.vid, d.dnssec, d.registrar, d.registrant,
    coalesce(served.nameservers, '{}')
FROM registry.domain AS d
LEFT JOIN (
    SELECT domain, array_agg(host ORDER BY position) AS nameservers FROM registry.delegation GROUP BY domain
) AS served ON served.domain = d.name;

ALTER TABLE registry.new_domain ADD CONSTRAINT new_domain_pkey PRIMARY KEY (name);
CREATE INDEX new_domain_registrant_idx ON registry.new_domain (registrant);
CREATE INDEX new_domain_registrar_idx ON registry.new_domain (registrar);
ALTER TABLE registry.new_domain
    ADD CONSTRAINT domain_registrar_fkey FOREIGN KEY (registrar) REFERENCES registry.registrar,
    ADD CONSTRAINT domain_registrant_fkey FOREIGN KEY (registrant) REFERENCES registry.registrant;
ANALYZE registry.new_domain;

-- From here on readers wait.

CREATE OR REPLACE VIEW whois.domain AS
SELECT
    d.name,                                         -- lower-case A-labels, no trailing dot
    d.status,                                       -- active, deactivated, reserved, offered_to_waiting_list
    d.registered,
    d.expires,
    d.delete_date,
    d.period_years,
    d.vid,
    d.dnssec,
    registrar.name AS registrar,                    -- NULL under registrant management
    d.nameservers,                                  -- in delegation order
    r.kind AS registrant_kind,                      -- company, public_organization, association, individual
    r.name AS registrant_name,
    r.street AS registrant_street,                  -- text[]
    r.postal_code AS registrant_postal_code,
    r.city AS registrant_city,
    r.country AS registrant_country,                -- ISO 3166-1 alpha-2
    r.phone AS registrant_phone,
    r.email AS registrant_email,                    -- primary
    r.secondary_email AS registrant_secondary_email,
    r.vat_number AS registrant_vat_number,          -- with country DK the CVR number
    r.cvr_locked AS registrant_cvr_locked,
    CASE WHEN r.cvr_form IS NOT NULL THEN coalesce(form.category, 'unknown') END AS registrant_cvr_form,
    r.cvr_bankruptcy AS registrant_cvr_bankruptcy,
    r.sole_proprietorship AS registrant_sole_proprietorship,
    r.address_protection AS registrant_address_protection,
    r.id_confirmed AS registrant_id_confirmed,
    r.id_status AS registrant_id_status             -- electronic_id, documentation, registrar, risk_assessment
FROM registry.new_domain AS d
LEFT JOIN registry.registrar ON registrar.handle = d.registrar
LEFT JOIN registry.registrant AS r ON r.handle = d.registrant
LEFT JOIN registry.cvr_form AS form ON form.code = r.cvr_form;

CREATE OR REPLACE VIEW whois.host AS
SELECT
    h.name,                                         -- lower-case A-labels, no trailing dot
    EXISTS (
        SELECT
        FROM registry.new_domain AS d
        WHERE d.name = substring(h.name FROM '[^.]+\.dk$')
            AND d.status = 'active'
            AND h.name = ANY (d.nameservers)
    ) AS glue
FROM registry.host AS h;

DROP TABLE registry.delegation;
DROP TABLE registry.domain;
ALTER TABLE registry.new_domain RENAME TO domain;
ALTER INDEX registry.new_domain_pkey RENAME TO domain_pkey;
ALTER INDEX registry.new_domain_registrant_idx RENAME TO domain_registrant_idx;
ALTER INDEX registry.new_domain_registrar_idx RENAME TO domain_registrar_idx;

-- A host that no row names comes into being with the domain that it serves.
CREATE FUNCTION registry.add_hosts() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO registry.host (name)
    SELECT DISTINCT host FROM new_rows, unnest(nameservers) AS host
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER hosts_come_with_new_domains AFTER INSERT ON registry.domain
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION registry.add_hosts();
CREATE TRIGGER hosts_come_with_changed_domains AFTER UPDATE ON registry.domain
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION registry.add_hosts();

-- A host that serves a domain stays, under its name: without its row the server would answer that there is none. Whoever
-- removes hosts waits for those who are changing domains, and holds off those who come.
CREATE FUNCTION registry.keep_hosts_that_serve() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE feature_not_supported  -- the look below would see what was there when the transaction began
            USING MESSAGE = 'hosts are removed and renamed in a transaction that is READ COMMITTED';
    END IF;
    LOCK TABLE registry.domain IN SHARE ROW EXCLUSIVE MODE;
    IF EXISTS (
        SELECT
        FROM registry.domain, unnest(nameservers) AS host
        WHERE host IN (SELECT name FROM old_rows) AND NOT EXISTS (SELECT FROM registry.host WHERE name = host)
    ) THEN
        RAISE foreign_key_violation
            USING MESSAGE = 'a host that serves a domain cannot be removed or renamed',
                TABLE = 'host', CONSTRAINT = 'hosts_that_serve_stay';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER hosts_that_serve_stay AFTER DELETE ON registry.host
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION registry.keep_hosts_that_serve();
CREATE TRIGGER hosts_that_serve_keep_their_names AFTER UPDATE ON registry.host
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION registry.keep_hosts_that_serve();

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA registry FROM PUBLIC;
