-- The contract between a registry's database and the server, where PostgreSQL tells it: what each column of the views holds.
-- The manual's table is made from these comments. Whoever adds a column adds its comment.

COMMENT ON VIEW whois.domain IS 'A row for each domain: what an answer prints, and the facts that the disclosure rules look at.';
COMMENT ON COLUMN whois.domain.name IS 'lower-case A-labels, no trailing dot';
COMMENT ON COLUMN whois.domain.status IS 'active, deactivated, reserved, offered_to_waiting_list';
COMMENT ON COLUMN whois.domain.registered IS 'day, in the registry''s local time; no infinity';
COMMENT ON COLUMN whois.domain.expires IS 'day; no infinity';
COMMENT ON COLUMN whois.domain.delete_date IS 'day of deletion, when one is set; no infinity';
COMMENT ON COLUMN whois.domain.period_years IS 'years of a registration period';
COMMENT ON COLUMN whois.domain.vid IS 'whether the domain has the VID service';
COMMENT ON COLUMN whois.domain.dnssec IS 'whether the delegation is signed';
COMMENT ON COLUMN whois.domain.registrar IS 'name; NULL under registrant management';
COMMENT ON COLUMN whois.domain.nameservers IS 'hosts in delegation order, as A-labels';
COMMENT ON COLUMN whois.domain.registrant_kind IS 'company, public_organization, association, individual; any other withholds';
COMMENT ON COLUMN whois.domain.registrant_name IS 'name';
COMMENT ON COLUMN whois.domain.registrant_street IS 'lines of the street address';
COMMENT ON COLUMN whois.domain.registrant_postal_code IS 'postal code';
COMMENT ON COLUMN whois.domain.registrant_city IS 'city';
COMMENT ON COLUMN whois.domain.registrant_country IS 'ISO 3166-1 alpha-2';
COMMENT ON COLUMN whois.domain.registrant_phone IS 'as it is to be printed';
COMMENT ON COLUMN whois.domain.registrant_email IS 'primary';
COMMENT ON COLUMN whois.domain.registrant_secondary_email IS 'shown in place of the primary where it is given';
COMMENT ON COLUMN whois.domain.registrant_vat_number IS 'with country DK the CVR number';
COMMENT ON COLUMN whois.domain.registrant_cvr_locked IS 'whether name and address are bound to CVR''s';
COMMENT ON COLUMN whois.domain.registrant_cvr_form IS
    'ordinary, sole_proprietorship, small_business, deceased_estate, unstated, unknown; NULL for none; any other is unknown';
COMMENT ON COLUMN whois.domain.registrant_cvr_bankruptcy IS 'whether the company is bankrupt';
COMMENT ON COLUMN whois.domain.registrant_sole_proprietorship IS 'whether a registrant abroad is classified as one';
COMMENT ON COLUMN whois.domain.registrant_address_protection IS 'whether name and address are protected; NULL withholds them';
COMMENT ON COLUMN whois.domain.registrant_id_confirmed IS 'whether the registrant has confirmed their identity';
COMMENT ON COLUMN whois.domain.registrant_id_status IS 'electronic_id, documentation, registrar, risk_assessment; NULL for none';

COMMENT ON VIEW whois.host IS 'A row for each name server host.';
COMMENT ON COLUMN whois.host.name IS 'lower-case A-labels, no trailing dot';
COMMENT ON COLUMN whois.host.glue IS 'whether its addresses are being spooled into the zone';
