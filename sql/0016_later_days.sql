-- What CVR's data says of a later day is known before that day: whoever would become public on it is found when the data is
-- read, as whoever becomes public at once. The view of today says what it said before.

CREATE VIEW registry.registrant_facts_by_day AS
SELECT
    coalesce(cvr.since, '-infinity') AS since,  -- the days on which this holds, as registry.cvr_company has them
    coalesce(cvr.until, 'infinity') AS until,
    r.handle,
    CASE WHEN NOT r.address_protection THEN r.kind END AS registrant_kind,
    CASE WHEN NOT r.address_protection THEN CASE WHEN bound.to_name THEN cvr.name ELSE r.name END END AS registrant_name,
    CASE WHEN NOT r.address_protection THEN CASE WHEN bound.to_address THEN cvr.street ELSE r.street END END
        AS registrant_street,
    CASE WHEN NOT r.address_protection THEN CASE WHEN bound.to_address THEN cvr.postal_code ELSE r.postal_code END END
        AS registrant_postal_code,
    CASE WHEN NOT r.address_protection THEN CASE WHEN bound.to_address THEN cvr.city ELSE r.city END END AS registrant_city,
    CASE WHEN NOT r.address_protection THEN r.country END AS registrant_country,
    CASE WHEN NOT r.address_protection THEN r.phone END AS registrant_phone,
    CASE WHEN may.have_an_email THEN r.email END AS registrant_email,
    CASE WHEN may.have_an_email THEN r.secondary_email END AS registrant_secondary_email,
    CASE WHEN NOT r.address_protection THEN r.vat_number END AS registrant_vat_number,
    CASE WHEN NOT r.address_protection THEN r.cvr_locked END AS registrant_cvr_locked,
    CASE WHEN NOT r.address_protection AND found.form IS NOT NULL THEN coalesce(form.category, 'unknown') END
        AS registrant_cvr_form,
    CASE WHEN NOT r.address_protection
        THEN CASE WHEN cvr.number IS NULL THEN r.cvr_bankruptcy ELSE r.cvr_bankruptcy OR cvr.bankrupt END
    END AS registrant_cvr_bankruptcy,
    CASE WHEN NOT r.address_protection
        THEN CASE by_hand.decision WHEN 'yes' THEN true WHEN 'no' THEN false ELSE r.sole_proprietorship END
    END AS registrant_sole_proprietorship,
    r.address_protection AS registrant_address_protection,
    r.id_confirmed AS registrant_id_confirmed,
    CASE WHEN NOT r.address_protection THEN r.id_status END AS registrant_id_status,
    CASE WHEN NOT r.address_protection THEN coalesce(by_hand.decision = 'no' AND r.country <> 'DK', false) END
        AS registrant_documented,
    CASE WHEN NOT r.address_protection AND r.country <> 'DK' THEN (
        SELECT valid FROM registry.vies WHERE number = registry.vies_number(r.country, r.vat_number)
    ) END AS registrant_vat_listed,
    CASE WHEN NOT r.address_protection THEN CASE
        WHEN cvr.number IS NULL OR cvr.listed AND NOT cvr.ceased THEN 'held'
        WHEN NOT cvr.listed THEN 'absent'
        WHEN cvr.listed AND cvr.ceased THEN 'ceased'
    END END AS registrant_cvr_standing
FROM registry.registrant AS r
LEFT JOIN registry.cvr_company AS cvr
    ON cvr.number = CASE WHEN r.cvr_locked THEN substring(r.vat_number FROM '[0-9]{8}')::integer END
CROSS JOIN LATERAL (SELECT CASE WHEN cvr.number IS NULL THEN r.cvr_form ELSE cvr.form END AS form) AS found
LEFT JOIN registry.cvr_form AS form ON form.code = found.form
CROSS JOIN LATERAL (
    SELECT
        coalesce(cvr.listed AND NOT cvr.ceased AND cvr.name IS NOT NULL, false) AS to_name,
        coalesce(cvr.listed AND NOT cvr.ceased AND cvr.city IS NOT NULL, false) AS to_address
) AS bound
CROSS JOIN LATERAL (
    SELECT max(c.decision) AS decision FROM registry.classification AS c WHERE c.handle = r.handle  -- yes comes after no
) AS by_hand
CROSS JOIN LATERAL (
    SELECT NOT r.address_protection AND r.kind IN ('company', 'public_organization', 'association') AS have_an_email
) AS may;

CREATE OR REPLACE VIEW registry.registrant_facts AS
SELECT
    handle, registrant_kind, registrant_name, registrant_street, registrant_postal_code, registrant_city, registrant_country,
    registrant_phone, registrant_email, registrant_secondary_email, registrant_vat_number, registrant_cvr_locked,
    registrant_cvr_form, registrant_cvr_bankruptcy, registrant_sole_proprietorship, registrant_address_protection,
    registrant_id_confirmed, registrant_id_status, registrant_documented, registrant_vat_listed, registrant_cvr_standing
FROM registry.registrant_facts_by_day
WHERE since <= (now() AT TIME ZONE 'Europe/Copenhagen')::date AND until > (now() AT TIME ZONE 'Europe/Copenhagen')::date;
