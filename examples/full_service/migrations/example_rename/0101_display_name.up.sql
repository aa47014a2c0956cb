-- safe: yes a column without a default is added at once, however large the table
-- phase: expand

ALTER TABLE users ADD COLUMN display_name text;

-- Old code writes name, new code display_name; each sees what the other has written.
CREATE FUNCTION users_both_names() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.display_name := coalesce(NEW.display_name, NEW.name);
        NEW.name := coalesce(NEW.name, NEW.display_name);
    ELSIF NEW.display_name IS DISTINCT FROM OLD.display_name THEN
        NEW.name := NEW.display_name;
    ELSIF NEW.name IS DISTINCT FROM OLD.name THEN
        NEW.display_name := NEW.name;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER users_both_names BEFORE INSERT OR UPDATE ON users
    FOR EACH ROW EXECUTE FUNCTION users_both_names();
