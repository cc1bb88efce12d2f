-- The classification of registrants abroad by hand, and what the disclosure report counts.

DO $$
BEGIN
    IF to_regclass('audit.entry') IS NULL THEN
        RAISE undefined_table USING MESSAGE =
            'there is no audit trail in this database; have a superuser run sql/audit.sql in it, and migrate again';
    END IF;
    IF EXISTS (
        SELECT FROM pg_namespace WHERE nspname = 'audit' AND pg_get_userbyid(nspowner) <> 'whoisd_auditor'
        UNION ALL
        SELECT FROM pg_class WHERE oid = 'audit.entry'::regclass AND pg_get_userbyid(relowner) <> 'whoisd_auditor'
    ) THEN
        RAISE invalid_object_definition USING MESSAGE =
            'the audit trail belongs to another role than whoisd_auditor, who could change it; have a superuser see to it';
    END IF;
END
$$;

-- Written by `whoisd registrant classify` alone, and never by a load: NULL where nobody has decided by hand. What was decided
-- counts instead of `sole_proprietorship`, which is what the registry files say. There is no constraint on the country: of a
-- registrant who has become Danish since, yes contradicts the rest, and the email is withheld.
ALTER TABLE registry.registrant ADD COLUMN classified_by_hand boolean;
CREATE INDEX registrant_classified_by_hand_idx ON registry.registrant (handle) WHERE classified_by_hand IS NOT NULL;

-- What the answers show of a registrant and the rules look at, for the two views below.
CREATE VIEW registry.registrant_facts AS
SELECT
    r.handle,
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
    coalesce(r.classified_by_hand, r.sole_proprietorship) AS registrant_sole_proprietorship,
    r.address_protection AS registrant_address_protection,
    r.id_confirmed AS registrant_id_confirmed,
    r.id_status AS registrant_id_status             -- electronic_id, documentation, registrar, risk_assessment
FROM registry.registrant AS r
LEFT JOIN registry.cvr_form AS form ON form.code = r.cvr_form;

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
    r.registrant_kind, r.registrant_name, r.registrant_street, r.registrant_postal_code, r.registrant_city,
    r.registrant_country, r.registrant_phone, r.registrant_email, r.registrant_secondary_email, r.registrant_vat_number,
    r.registrant_cvr_locked, r.registrant_cvr_form, r.registrant_cvr_bankruptcy, r.registrant_sole_proprietorship,
    r.registrant_address_protection, r.registrant_id_confirmed, r.registrant_id_status
FROM registry.domain AS d
LEFT JOIN registry.registrar ON registrar.handle = d.registrar
LEFT JOIN registry.registrant_facts AS r ON r.handle = d.registrant;

-- A row for each registrant, without the handle: what `whoisd report disclosure` counts besides the domains. The server does
-- not read it.
CREATE VIEW whois.registrant AS
SELECT
    registrant_kind, registrant_name, registrant_street, registrant_postal_code, registrant_city, registrant_country,
    registrant_phone, registrant_email, registrant_secondary_email, registrant_vat_number, registrant_cvr_locked,
    registrant_cvr_form, registrant_cvr_bankruptcy, registrant_sole_proprietorship, registrant_address_protection,
    registrant_id_confirmed, registrant_id_status
FROM registry.registrant_facts;

GRANT SELECT ON whois.registrant TO whoisd_reader;
