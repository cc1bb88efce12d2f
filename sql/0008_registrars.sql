-- How to reach a registrar: for whoever meets a withheld email and looks for somebody to write to, and for the registry itself.
-- All of it is optional. `public` is whether the registrar lets the registry show its address, phone, url and email; without it
-- none of them leaves the database. The name and the abuse contact are there to be shown, and always are.

ALTER TABLE registry.registrar
    ADD COLUMN public      boolean NOT NULL DEFAULT false,
    ADD COLUMN street      text[] NOT NULL DEFAULT '{}'
        CHECK (cardinality(street) <= 3 AND registry.are_lines(street)),
    ADD COLUMN postal_code text CHECK (registry.is_line(postal_code)),
    ADD COLUMN city        text CHECK (registry.is_line(city)),
    ADD COLUMN country     text CHECK (country ~ '^[A-Z]{2}$'),       -- ISO 3166-1 alpha-2
    ADD COLUMN phone       text CHECK (registry.is_line(phone)),       -- as it is to be printed
    ADD COLUMN url         text CHECK (registry.is_line(url) AND url ~ '^https?://[^[:space:]<>"]+$'),
    ADD COLUMN email       text CHECK (registry.is_line(email) AND email ~ '^[^[:space:]@]+@[^[:space:]@]+$'),
    ADD COLUMN abuse_email text CHECK (registry.is_line(abuse_email) AND abuse_email ~ '^[^[:space:]@]+@[^[:space:]@]+$');

CREATE OR REPLACE VIEW whois.domain AS
SELECT
    d.name,
    d.status,
    d.registered,
    d.expires,
    d.delete_date,
    d.period_years,
    d.vid,
    d.dnssec,
    registrar.name AS registrar,
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
    registrar.abuse_email AS registrar_abuse_email
FROM registry.domain AS d
LEFT JOIN registry.registrar ON registrar.handle = d.registrar
LEFT JOIN registry.registrant_facts AS r ON r.handle = d.registrant;

COMMENT ON COLUMN whois.domain.registrar_public IS
    'whether the registrar''s address, phone, url and email may be shown; NULL under registrant management';
COMMENT ON COLUMN whois.domain.registrar_street IS 'text[], at most 3 lines; NULL unless public';
COMMENT ON COLUMN whois.domain.registrar_postal_code IS 'NULL unless public';
COMMENT ON COLUMN whois.domain.registrar_city IS 'NULL unless public';
COMMENT ON COLUMN whois.domain.registrar_country IS 'ISO 3166-1 alpha-2; NULL unless public';
COMMENT ON COLUMN whois.domain.registrar_phone IS 'as it is to be printed; NULL unless public';
COMMENT ON COLUMN whois.domain.registrar_url IS 'an http or https URL; NULL unless public';
COMMENT ON COLUMN whois.domain.registrar_email IS 'for customers; NULL unless public';
COMMENT ON COLUMN whois.domain.registrar_abuse_email IS
    'where to report abuse, and to write to when the registrant''s email is withheld; shown whether or not public';
