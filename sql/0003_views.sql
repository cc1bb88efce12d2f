-- The contract between a registry's database and the server: two views, which hold what an answer prints and the facts
-- that the disclosure rules look at, and no other personal data (a registrant's handle is never shown, so it is not
-- here). A registry with tables of its own provides just these two, with these columns and types. NULL means that the
-- data does not say; where a rule looks at it, the rule withholds.

CREATE SCHEMA whois;

CREATE VIEW whois.domain AS
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
    ARRAY(
        SELECT delegation.host
        FROM registry.delegation
        WHERE delegation.domain = d.name
        ORDER BY delegation.position
    ) AS nameservers,                               -- in delegation order
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
FROM registry.domain AS d
LEFT JOIN registry.registrar ON registrar.handle = d.registrar
LEFT JOIN registry.registrant AS r ON r.handle = d.registrant
LEFT JOIN registry.cvr_form AS form ON form.code = r.cvr_form;

-- Glue is spooled into the zone only for a host that serves the very .dk domain it is a child of, while that domain
-- is published.
CREATE VIEW whois.host AS
SELECT
    h.name,                                         -- lower-case A-labels, no trailing dot
    EXISTS (
        SELECT
        FROM registry.delegation
        JOIN registry.domain ON domain.name = delegation.domain
        WHERE delegation.host = h.name
            AND delegation.domain = substring(h.name FROM '[^.]+\.dk$')
            AND domain.status = 'active'
    ) AS glue
FROM registry.host AS h;
