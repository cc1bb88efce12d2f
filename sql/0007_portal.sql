-- The registrar portal, as far as it decides who may classify a registrant: the users of registrar accounts, the roles that
-- they had, the groups that they have, and the objects that linked users held roles on. A registrar's handle (REG handle)
-- names its account. Nothing of it is readable by the server.

CREATE SCHEMA portal;

-- The registry's own staff.
CREATE TABLE portal.staff (
    name text COLLATE "C" PRIMARY KEY CHECK (name ~ '^[a-z0-9]+([._-][a-z0-9]+)*$' AND length(name) <= 32)
);

CREATE TABLE portal.portal_user (
    handle       text COLLATE "C" PRIMARY KEY CHECK (handle ~ '^[A-Z0-9]+(-[A-Z0-9]+)*$' AND length(handle) <= 32),
    account      text COLLATE "C" NOT NULL REFERENCES registry.registrar,
    linked       boolean NOT NULL DEFAULT false,  -- one with a handle of their own, linked to the account
    roles        text[] NOT NULL DEFAULT '{}'     -- that they had before there were groups
        CHECK (array_position(roles, NULL) IS NULL AND roles <@ ARRAY[
            'administrator', 'registrar', 'registrant', 'proxy', 'billing_contact', 'name_server_management']),
    access_group text                             -- NULL until `whoisd portal convert`, and for one without roles
        CHECK (access_group IN ('administration', 'portfolio_management', 'accounting'))
);
CREATE INDEX ON portal.portal_user (account);

-- An object is written kind:name, as in domain:eksempel.dk, and goes with the row that it names.

-- What a linked user held a role on, before there were groups.
CREATE TABLE portal.object_role (
    holder     text COLLATE "C" REFERENCES portal.portal_user ON DELETE CASCADE,
    role       text COLLATE "C"
        CHECK (role IN ('registrar', 'registrant', 'proxy', 'billing_contact', 'name_server_management')),
    object     text COLLATE "C" CHECK (object ~ '^(domain|registrant|host):'),
    domain     text COLLATE "C" GENERATED ALWAYS AS (substring(object FROM '^domain:(.*)$')) STORED
        REFERENCES registry.domain ON DELETE CASCADE,
    registrant text COLLATE "C" GENERATED ALWAYS AS (substring(object FROM '^registrant:(.*)$')) STORED
        REFERENCES registry.registrant ON DELETE CASCADE,
    host       text COLLATE "C" GENERATED ALWAYS AS (substring(object FROM '^host:(.*)$')) STORED
        REFERENCES registry.host ON DELETE CASCADE,
    PRIMARY KEY (holder, object, role)
);
CREATE INDEX ON portal.object_role (domain) WHERE domain IS NOT NULL;
CREATE INDEX ON portal.object_role (registrant) WHERE registrant IS NOT NULL;
CREATE INDEX ON portal.object_role (host) WHERE host IS NOT NULL;

-- The same roles where the REG handle of an account took them over; written by `whoisd portal take-over` alone.
CREATE TABLE portal.taken_over_role (
    account    text COLLATE "C" REFERENCES registry.registrar ON DELETE CASCADE,
    role       text COLLATE "C"
        CHECK (role IN ('registrar', 'registrant', 'proxy', 'billing_contact', 'name_server_management')),
    object     text COLLATE "C" CHECK (object ~ '^(domain|registrant|host):'),
    domain     text COLLATE "C" GENERATED ALWAYS AS (substring(object FROM '^domain:(.*)$')) STORED
        REFERENCES registry.domain ON DELETE CASCADE,
    registrant text COLLATE "C" GENERATED ALWAYS AS (substring(object FROM '^registrant:(.*)$')) STORED
        REFERENCES registry.registrant ON DELETE CASCADE,
    host       text COLLATE "C" GENERATED ALWAYS AS (substring(object FROM '^host:(.*)$')) STORED
        REFERENCES registry.host ON DELETE CASCADE,
    PRIMARY KEY (account, object, role)
);
CREATE INDEX ON portal.taken_over_role (domain) WHERE domain IS NOT NULL;
CREATE INDEX ON portal.taken_over_role (registrant) WHERE registrant IS NOT NULL;
CREATE INDEX ON portal.taken_over_role (host) WHERE host IS NOT NULL;
