-- safe: yes batches of 1,000 rows, each committed by itself
-- phase: expand
-- transaction: no

-- An interrupted run goes on where it was: `migrate repair 102 --as pending`, then `migrate apply`.
DO $$
BEGIN
    LOOP
        UPDATE users SET display_name = name WHERE id IN (
            SELECT id FROM users WHERE display_name IS NULL ORDER BY id LIMIT 1000 FOR UPDATE
        );
        EXIT WHEN NOT FOUND;
        COMMIT;
    END LOOP;
END
$$;
