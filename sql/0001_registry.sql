-- The registry: registrars, registrants, hosts, domains and their delegations, with the constraints that keep bad data
-- out. Nothing of it is readable by the server, which sees the views of 0003 alone.

CREATE SCHEMA registry;

-- One line of text: no control character and no line end of Unicode's, so that no value can add a line to an answer.
CREATE FUNCTION registry.is_line(value text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN value !~ '[\x01-\x1f\x7f-\x9f\u2028\u2029]' AND length(value) BETWEEN 1 AND 255 AND value ~ '\S';

CREATE FUNCTION registry.are_lines(list text[]) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN NOT EXISTS (SELECT FROM unnest(list) AS value WHERE value IS NULL OR NOT registry.is_line(value));

-- A name as lower-case A-labels with no trailing dot (RFC 5890), of at most 253 characters. That an A-label decodes
-- under IDNA2008 is checked when it is loaded.
CREATE FUNCTION registry.is_dns_name(value text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN value ~ '^(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))+$' AND length(value) <= 253;

-- A day that every reader can hold: no infinity, no day before the year 1 or after the year 9999.
CREATE FUNCTION registry.is_day(value date) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN value BETWEEN '0001-01-01' AND '9999-12-31';

CREATE TABLE registry.registrar (
    handle text COLLATE "C" PRIMARY KEY CHECK (handle ~ '^[A-Z0-9]+(-[A-Z0-9]+)*$' AND length(handle) <= 32),
    name   text NOT NULL CHECK (registry.is_line(name))
);

CREATE TABLE registry.registrant (
    handle              text COLLATE "C" PRIMARY KEY CHECK (handle ~ '^[A-Z0-9]+(-[A-Z0-9]+)*$' AND length(handle) <= 32),
    kind                text NOT NULL CHECK (kind IN ('company', 'public_organization', 'association', 'individual')),
    name                text NOT NULL CHECK (registry.is_line(name)),
    street              text[] NOT NULL DEFAULT '{}'
        CHECK (cardinality(street) <= 3 AND registry.are_lines(street)),
    postal_code         text CHECK (registry.is_line(postal_code)),
    city                text CHECK (registry.is_line(city)),
    country             text NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    phone               text CHECK (registry.is_line(phone)),
    email               text NOT NULL CHECK (registry.is_line(email)),
    secondary_email     text CHECK (registry.is_line(secondary_email)),
    vat_number          text CHECK (registry.is_line(vat_number)),
    cvr_locked          boolean NOT NULL DEFAULT false,
    cvr_form            integer,  -- no foreign key: CVR may give a form that the table does not list, and it is withheld
    cvr_bankruptcy      boolean NOT NULL DEFAULT false,
    sole_proprietorship boolean NOT NULL DEFAULT false,
    address_protection  boolean NOT NULL DEFAULT false,
    id_confirmed        boolean NOT NULL DEFAULT true,
    id_status           text CHECK (id_status IN ('electronic_id', 'documentation', 'registrar', 'risk_assessment')),
    CONSTRAINT locked_is_danish CHECK (NOT cvr_locked OR country = 'DK'),
    CONSTRAINT classified_is_foreign CHECK (NOT sole_proprietorship OR country <> 'DK'),
    CONSTRAINT protected_is_individual CHECK (NOT address_protection OR kind = 'individual')
);

CREATE TABLE registry.host (
    name text COLLATE "C" PRIMARY KEY CHECK (registry.is_dns_name(name))
);

CREATE TABLE registry.domain (
    name         text COLLATE "C" PRIMARY KEY CHECK (registry.is_dns_name(name) AND name ~ '^[^.]+\.dk$'),
    status       text NOT NULL CHECK (status IN ('active', 'deactivated', 'reserved', 'offered_to_waiting_list')),
    registered   date CHECK (registry.is_day(registered)),  -- dates are in the registry's local time, Europe/Copenhagen
    expires      date CHECK (registry.is_day(expires)),
    delete_date  date CHECK (registry.is_day(delete_date)),
    period_years integer CHECK (period_years IN (1, 2, 3, 5)),
    vid          boolean NOT NULL DEFAULT false,
    dnssec       boolean NOT NULL DEFAULT false,
    registrar    text COLLATE "C" REFERENCES registry.registrar,  -- set under registrar management
    registrant   text COLLATE "C" REFERENCES registry.registrant,
    CONSTRAINT dates_in_order CHECK (registered <= expires AND registered <= delete_date),
    CONSTRAINT registered_or_offered CHECK (
        CASE WHEN status = 'offered_to_waiting_list'
             THEN num_nonnulls(registered, expires, registrant) = 0
             ELSE num_nulls(registered, expires, period_years, registrant) = 0
        END)
);
CREATE INDEX ON registry.domain (registrant);
CREATE INDEX ON registry.domain (registrar);

-- Which hosts serve a domain, in delegation order. That an active domain has 2 to 7 is checked when it is loaded.
CREATE TABLE registry.delegation (
    domain   text COLLATE "C" REFERENCES registry.domain ON DELETE CASCADE,
    position smallint CHECK (position BETWEEN 1 AND 7),
    host     text COLLATE "C" NOT NULL REFERENCES registry.host,
    PRIMARY KEY (domain, position),
    UNIQUE (domain, host)
);
CREATE INDEX ON registry.delegation (host);
