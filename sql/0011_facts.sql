-- What protects a person, and what publishes: decisions by hand that outlive the row of their registrant, what VIES answered
-- about VAT numbers, and views that hand out nothing which can never be shown.

-- A decision is about a handle, and stays when its registrant is removed: there is no foreign key. Written by `whoisd
-- registrant classify` alone. Each party has one: the registry's staff, and each account whose user decided. Any yes withholds,
-- also beside a no; a no is staff's alone, who have seen documentation.
CREATE TABLE registry.classification (
    handle     text COLLATE "C" CHECK (handle ~ '^[A-Z0-9]+(-[A-Z0-9]+)*$' AND length(handle) <= 32),
    decided_by text COLLATE "C"  -- staff, or the REG handle of the account
        CHECK (decided_by = 'staff' OR decided_by ~ '^[A-Z0-9]+(-[A-Z0-9]+)*$' AND length(decided_by) <= 32),
    decision   text COLLATE "C" NOT NULL CHECK (decision IN ('yes', 'no')),
    PRIMARY KEY (handle, decided_by),
    CONSTRAINT staff_document CHECK (decision = 'yes' OR decided_by = 'staff')
);

-- Until now it was a column of the registrant's own row, and lost with it: the audit trail has who decided last. A yes is
-- taken from the trail also where the row is gone or has come back without it. A no counts only where it still stands and
-- staff decided it; the trail tells of those that end here.
CREATE TEMPORARY TABLE decided ON COMMIT DROP AS
SELECT DISTINCT ON (entry.object)
    substring(entry.object FROM '^registrant:(.*)$') AS handle,
    entry.who,
    portal_user.account,
    (entry.after ->> 'classified_by_hand')::boolean AS decision
FROM audit.entry
LEFT JOIN portal.portal_user ON entry.who = 'user:' || portal_user.handle
WHERE entry.command = 'registrant classify' AND entry.object LIKE 'registrant:%'
ORDER BY entry.object, entry.id DESC;

INSERT INTO registry.classification (handle, decided_by, decision)
SELECT coalesce(r.handle, d.handle), coalesce(CASE WHEN d.decision AND d.who LIKE 'user:%' THEN d.account END, 'staff'), 'yes'
FROM decided AS d
FULL JOIN registry.registrant AS r ON r.handle = d.handle
WHERE r.classified_by_hand OR r.classified_by_hand IS NULL AND d.decision;

INSERT INTO registry.classification (handle, decided_by, decision)
SELECT r.handle, 'staff', 'no'
FROM registry.registrant AS r
JOIN decided AS d ON d.handle = r.handle
WHERE NOT r.classified_by_hand AND NOT d.decision AND d.who LIKE 'staff:%';

INSERT INTO audit.entry (who, command, object, before, after, account)
SELECT
    'migration:0011', 'migrate', 'registrant:' || r.handle,
    '{"classified_by_hand": false}', '{"classified_by_hand": null}', 'migration:0011'
FROM registry.registrant AS r
WHERE NOT r.classified_by_hand AND NOT EXISTS (SELECT FROM registry.classification AS c WHERE c.handle = r.handle);

-- What VIES, the register of VAT numbers of the European Union, answered last about a number. Written by `whoisd vat update`
-- alone. A number can hold a personal number: it is never logged.
CREATE TABLE registry.vies (
    number     text COLLATE "C" PRIMARY KEY  -- VIES's country code, and the number without marks, in capitals
        CHECK (number ~ '^[A-Z]{2}[A-Z0-9+*]{2,14}$'),
    valid      boolean NOT NULL,
    asked_at   timestamptz NOT NULL,         -- requestDate
    identifier text CHECK (registry.is_line(identifier))  -- requestIdentifier; NULL where VIES gave none
);

-- What the answers show of a registrant and the rules look at, for the two views below. What can never be shown is not in it:
-- no email of whoever is not known to be an organisation, and of whoever is not known to be without name and address
-- protection nothing but that.
CREATE OR REPLACE VIEW registry.registrant_facts AS
SELECT
    r.handle,
    CASE WHEN NOT r.address_protection THEN r.kind END AS registrant_kind,
    CASE WHEN NOT r.address_protection THEN r.name END AS registrant_name,
    CASE WHEN NOT r.address_protection THEN r.street END AS registrant_street,
    CASE WHEN NOT r.address_protection THEN r.postal_code END AS registrant_postal_code,
    CASE WHEN NOT r.address_protection THEN r.city END AS registrant_city,
    CASE WHEN NOT r.address_protection THEN r.country END AS registrant_country,
    CASE WHEN NOT r.address_protection THEN r.phone END AS registrant_phone,
    CASE WHEN may.have_an_email THEN r.email END AS registrant_email,
    CASE WHEN may.have_an_email THEN r.secondary_email END AS registrant_secondary_email,
    CASE WHEN NOT r.address_protection THEN r.vat_number END AS registrant_vat_number,
    CASE WHEN NOT r.address_protection THEN r.cvr_locked END AS registrant_cvr_locked,
    CASE WHEN NOT r.address_protection AND r.cvr_form IS NOT NULL THEN coalesce(form.category, 'unknown') END
        AS registrant_cvr_form,
    CASE WHEN NOT r.address_protection THEN r.cvr_bankruptcy END AS registrant_cvr_bankruptcy,
    CASE WHEN NOT r.address_protection
        THEN CASE by_hand.decision WHEN 'yes' THEN true WHEN 'no' THEN false ELSE r.sole_proprietorship END
    END AS registrant_sole_proprietorship,
    r.address_protection AS registrant_address_protection,
    r.id_confirmed AS registrant_id_confirmed,
    CASE WHEN NOT r.address_protection THEN r.id_status END AS registrant_id_status,
    CASE WHEN NOT r.address_protection THEN coalesce(by_hand.decision = 'no' AND r.country <> 'DK', false) END
        AS registrant_documented,
    CASE WHEN NOT r.address_protection AND r.country <> 'DK' THEN (
        SELECT vies.valid
        FROM registry.vies, LATERAL (
            -- VIES's code of the country; the text without marks, without its prefix and with what people leave out of it.
            SELECT
                CASE r.country WHEN 'GR' THEN 'EL' WHEN 'MC' THEN 'FR' WHEN 'GB' THEN 'XI' ELSE r.country END AS code,
                regexp_replace(upper(r.vat_number), '[^A-Z0-9+*]', '', 'g') AS text
        ) AS given, LATERAL (
            SELECT regexp_replace(text, CASE code WHEN 'EL' THEN '^(EL|GR)' ELSE '^' || code END, '') AS rest
        ) AS plain
        WHERE (r.country <> 'GB' OR given.text LIKE 'XI%')  -- of Great Britain's VIES has those of Northern Ireland alone
            AND vies.number = given.code || CASE
                WHEN code = 'SE' AND length(rest) = 10 THEN rest || '01'
                WHEN code = 'EL' AND length(rest) = 8 THEN '0' || rest
                WHEN code = 'BE' AND length(rest) = 9 THEN '0' || rest
                WHEN code = 'NL' AND length(rest) < 12 THEN lpad(rest, 12, '0')
                ELSE rest
            END
    ) END AS registrant_vat_listed,
    CASE WHEN NOT r.address_protection THEN 'held' END AS registrant_cvr_standing
FROM registry.registrant AS r
LEFT JOIN registry.cvr_form AS form ON form.code = r.cvr_form
CROSS JOIN LATERAL (
    SELECT max(c.decision) AS decision FROM registry.classification AS c WHERE c.handle = r.handle  -- yes comes after no
) AS by_hand
CROSS JOIN LATERAL (
    SELECT NOT r.address_protection AND r.kind IN ('company', 'public_organization', 'association') AS have_an_email
) AS may;

CREATE OR REPLACE VIEW whois.domain AS
SELECT
    d.name, d.status, d.registered, d.expires, d.delete_date, d.period_years, d.vid, d.dnssec, registrar.name AS registrar,
    d.nameservers,
    r.registrant_kind, r.registrant_name, r.registrant_street, r.registrant_postal_code, r.registrant_city,
    r.registrant_country, r.registrant_phone, r.registrant_email, r.registrant_secondary_email, r.registrant_vat_number,
    r.registrant_cvr_locked, r.registrant_cvr_form, r.registrant_cvr_bankruptcy, r.registrant_sole_proprietorship,
    r.registrant_address_protection, r.registrant_id_confirmed, r.registrant_id_status,
    registrar.public AS registrar_public,
    CASE WHEN registrar.public THEN registrar.street END AS registrar_street,
    CASE WHEN registrar.public THEN registrar.postal_code END AS registrar_postal_code,
    CASE WHEN registrar.public THEN registrar.city END AS registrar_city,
    CASE WHEN registrar.public THEN registrar.country END AS registrar_country,
    CASE WHEN registrar.public THEN registrar.phone END AS registrar_phone,
    CASE WHEN registrar.public THEN registrar.url END AS registrar_url,
    CASE WHEN registrar.public THEN registrar.email END AS registrar_email,
    registrar.abuse_email AS registrar_abuse_email,
    r.registrant_documented, r.registrant_vat_listed, r.registrant_cvr_standing
FROM registry.domain AS d
LEFT JOIN registry.registrar ON registrar.handle = d.registrar
LEFT JOIN registry.registrant_facts AS r ON r.handle = d.registrant;

CREATE OR REPLACE VIEW whois.registrant AS
SELECT
    registrant_kind, registrant_name, registrant_street, registrant_postal_code, registrant_city, registrant_country,
    registrant_phone, registrant_email, registrant_secondary_email, registrant_vat_number, registrant_cvr_locked,
    registrant_cvr_form, registrant_cvr_bankruptcy, registrant_sole_proprietorship, registrant_address_protection,
    registrant_id_confirmed, registrant_id_status, registrant_documented, registrant_vat_listed, registrant_cvr_standing
FROM registry.registrant_facts;

COMMENT ON COLUMN whois.domain.registrant_kind IS
    'company, public_organization, association, individual; any other withholds; NULL with all the rest under protection';
COMMENT ON COLUMN whois.domain.registrant_email IS 'primary; NULL of an individual, who never has one shown';
COMMENT ON COLUMN whois.domain.registrant_secondary_email IS
    'shown in place of the primary where it is given; NULL of an individual';
COMMENT ON COLUMN whois.domain.registrant_sole_proprietorship IS
    'whether it is classified as a sole proprietorship: by hand or, where nobody decided, by the registry files';
COMMENT ON COLUMN whois.domain.registrant_documented IS
    'whether staff have seen documentation that a registrant abroad is no sole proprietorship; NULL withholds';
COMMENT ON COLUMN whois.domain.registrant_vat_listed IS
    'whether VIES, when it answered last, listed the VAT number of a registrant abroad; NULL where nothing is known of it';
COMMENT ON COLUMN whois.domain.registrant_cvr_standing IS
    'what CVR''s own data says of the lock: held (nothing against it, or none has been read), ceased, absent; NULL withholds';

ALTER TABLE registry.registrant DROP COLUMN classified_by_hand;
