-- What CVR's own data says of the companies whose numbers registrants have. `whoisd cvr update` writes it and nobody else: a load
-- does not touch it, and it does not touch what a load writes. The view below puts the two together.

CREATE TABLE registry.cvr_company (
    number      integer,
    since       date,     -- the first day, in Denmark, on which this holds, until the next row of the number; -infinity for ever
    listed      boolean,  -- whether CVR has such a company; NULL, here and below: CVR's data does not settle it
    ceased      boolean,
    form        integer,  -- NULL: it has none; 0: several, or one that is no code
    bankrupt    boolean,
    name        text CHECK (registry.is_line(name)),
    street      text[] CHECK (cardinality(street) BETWEEN 1 AND 3 AND registry.are_lines(street)),
    postal_code text CHECK (registry.is_line(postal_code)),
    city        text CHECK (registry.is_line(city)),
    as_of       timestamptz,  -- when the document was changed last that says so; NULL: the files of Datafordeleren's say so
    PRIMARY KEY (number, since),
    CONSTRAINT address_is_whole CHECK (num_nulls(street, postal_code, city) IN (0, 3))
);

-- Of when that is.
CREATE TABLE registry.cvr_source (
    source     text COLLATE "C" PRIMARY KEY CHECK (source IN ('datafordeler', 'distribution')),
    generation bigint,                -- of the files of Datafordeleren's
    as_of      timestamptz NOT NULL,  -- the last registration in them, or the last change of a document
    read_at    timestamptz NOT NULL,
    CONSTRAINT files_have_a_generation CHECK ((source = 'datafordeler') = (generation IS NOT NULL))
);

INSERT INTO registry.cvr_form (code, name, category) VALUES
    ( 95, 'Trust',                                                       'unstated'),
    (152, 'Forening med begrænset ansvar',                               'ordinary'),
    (196, 'Filial af udenlandsk SCE-selskab',                            'ordinary'),
    (240, 'Amtskommune',                                                 'ordinary'),
    (270, 'Enhed under oprettelse',                                      'unstated'),
    (291, 'Filial af SE-selskab',                                        'ordinary'),
    (520, 'Grønlandsk afdeling af udenlandsk selskab eller virksomhed',  'ordinary'),
    (540, 'Grønlandsk offentlig virksomhed',                             'ordinary')
ON CONFLICT (code) DO NOTHING;  -- an operator may have added one, by their own judgement

-- As before, and CVR's own data counts: its form wins over the file's, a bankruptcy counts whoever says so, it can end a lock and
-- never give one, and the name and address of a registrant whose lock holds are those that it has.
CREATE OR REPLACE VIEW registry.registrant_facts AS
SELECT
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
        SELECT vies.valid
        FROM registry.vies, LATERAL (
            -- VIES's code of the country; the text without marks, without its prefix and with what people leave out of it.
            SELECT
                CASE
                    WHEN r.country IN ('MC', 'BL', 'GF', 'GP', 'MF', 'MQ', 'RE', 'YT') THEN 'FR'
                    WHEN r.country = 'AX' THEN 'FI'
                    WHEN r.country = 'GR' THEN 'EL'
                    WHEN r.country = 'GB' THEN 'XI'
                    ELSE r.country
                END AS code,
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
    CASE WHEN NOT r.address_protection THEN CASE
        WHEN cvr.number IS NULL OR cvr.listed AND NOT cvr.ceased THEN 'held'
        WHEN NOT cvr.listed THEN 'absent'
        WHEN cvr.listed AND cvr.ceased THEN 'ceased'
    END END AS registrant_cvr_standing
FROM registry.registrant AS r
LEFT JOIN LATERAL (
    SELECT company.*
    FROM registry.cvr_company AS company
    WHERE company.number = CASE WHEN r.cvr_locked THEN substring(r.vat_number FROM '[0-9]{8}')::integer END
        AND company.since <= (now() AT TIME ZONE 'Europe/Copenhagen')::date
    ORDER BY company.since DESC
    LIMIT 1
) AS cvr ON true
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

CREATE VIEW whois.cvr AS
SELECT as_of FROM registry.cvr_source ORDER BY generation DESC NULLS LAST LIMIT 1;
COMMENT ON VIEW whois.cvr IS 'Optional: one row where CVR''s own data was read, by which the age of that data is measured.';
COMMENT ON COLUMN whois.cvr.as_of IS 'of when CVR''s own data is';
GRANT SELECT ON whois.cvr TO whoisd_reader;
