-- What withholds a registrant outlives their row. Whoever is removed, as by a load that replaces all, and comes back by a record
-- that says nothing of it, is as protected as before. A guard is lifted by saying so.

CREATE TABLE registry.guard (
    handle              text COLLATE "C" PRIMARY KEY,  -- of a registrant who was removed, with at least one of the four
    address_protection  boolean NOT NULL,
    cvr_bankruptcy      boolean NOT NULL,
    sole_proprietorship boolean NOT NULL,              -- as the registry files had it
    id_confirmed        boolean NOT NULL
);

CREATE FUNCTION registry.keep_guards() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    DELETE FROM registry.guard WHERE handle IN (SELECT handle FROM old_rows);  -- of an earlier removal
    INSERT INTO registry.guard
    SELECT handle, address_protection, cvr_bankruptcy, sole_proprietorship, id_confirmed
    FROM old_rows
    WHERE address_protection OR cvr_bankruptcy OR sole_proprietorship OR NOT id_confirmed;
    RETURN NULL;
END
$$;
CREATE TRIGGER guards_outlive_their_registrant AFTER DELETE ON registry.registrant
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION registry.keep_guards();

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA registry FROM PUBLIC;
