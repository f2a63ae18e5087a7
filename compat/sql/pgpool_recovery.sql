-- The functions of pgpool-II's extension pgpool_recovery (version 1.4) without C: nothing has to be compiled on the
-- database host.
--
--     psql -1 -v ON_ERROR_STOP=1 -f pgpool_recovery.sql template1
--
-- or, after ./install, CREATE EXTENSION pgpool_recovery. Signatures, results and what the scripts are given are those of
-- the C functions. As these they are for superusers, since they run programs on the database host: EXECUTE is revoked
-- from PUBLIC, and COPY … TO PROGRAM asks for a superuser or a member of pg_execute_server_program.
--
-- Each word of a command is put between single quotes, so that the shell takes it as it is. No literal here has a
-- backslash, so the quoting holds under both settings of standard_conforming_strings. COPY waits for the program alone,
-- not for what that leaves running; what it prints is in the server's log.

DO $install$
DECLARE
    -- All that a stage of the recovery is told; older versions told it less.
    parameters CONSTANT text[] := ARRAY['script_name text', 'remote_host text', 'remote_data_directory text',
        'primary_port text', 'remote_node integer', 'remote_port text', 'primary_host text'];
    arguments CONSTANT text[] := ARRAY['data_directory', 'remote_host', 'remote_data_directory',
        'primary_port', 'remote_node::text', 'remote_port', 'primary_host'];
    -- 1: the function, 2: its parameters, 3: the script's name, 4: the script's arguments.
    template CONSTANT text := $template$
        CREATE FUNCTION %1$I(%2$s) RETURNS boolean
        LANGUAGE plpgsql STRICT VOLATILE PARALLEL UNSAFE
        SET search_path = pg_catalog, pg_temp
        AS $function$
        DECLARE
            data_directory CONSTANT text := current_setting('data_directory');
            script CONSTANT text := data_directory || '/' || %3$s;
            command text;
            reason text;
            detail text;
        BEGIN
            SELECT string_agg('''' || replace(word, '''', '''"''"''') || '''', ' ' ORDER BY place) || ' </dev/null'
                INTO command
                FROM unnest(ARRAY[script, %4$s]) WITH ORDINALITY AS words (word, place);
            EXECUTE 'COPY (SELECT 1 WHERE false) TO PROGRAM ' || quote_literal(command);
            RETURN true;
        EXCEPTION WHEN external_routine_exception THEN
            GET STACKED DIAGNOSTICS reason = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
            RAISE EXCEPTION '%%', concat_ws(': ', '%1$s failed', script, coalesce(nullif(detail, ''), reason))
                USING HINT = 'What the script said is in the log of the server.';
        END
        $function$
    $template$;
BEGIN
    FOR count IN 3 .. 7 LOOP
        EXECUTE format(template, 'pgpool_recovery', array_to_string(parameters[:count], ', '),
            'script_name', array_to_string(arguments[:count], ', '));
    END LOOP;
    EXECUTE format(template, 'pgpool_remote_start', array_to_string(parameters[2:3], ', '),
        quote_literal('pgpool_remote_start'), array_to_string(arguments[2:3], ', '));
END
$install$;

-- Starts pg_ctl beside the server, as it may stop it, and does not wait: the result says only that it was started.
-- The signals that end this session, and with it the programs it has started, must not reach pg_ctl.
-- pgpool.pg_ctl in postgresql.conf names the program; without it, the server's own is taken.
CREATE FUNCTION pgpool_pgctl(action text, stop_mode text) RETURNS boolean
LANGUAGE plpgsql STRICT VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    program CONSTANT text := coalesce(nullif(current_setting('pgpool.pg_ctl', true), ''),
        (SELECT setting || '/pg_ctl' FROM pg_config WHERE name = 'BINDIR'));
    words text[] := ARRAY[program, action, '-D', current_setting('data_directory')];
    command text;
BEGIN
    IF stop_mode <> '' THEN
        words := words || ARRAY['-m', stop_mode];
    END IF;
    SELECT string_agg('''' || replace(word, '''', '''"''"''') || '''', ' ' ORDER BY place)
        INTO command
        FROM unnest(words) WITH ORDINALITY AS words (word, place);
    command := '(trap "" HUP INT QUIT TERM; exec ' || command || ') </dev/null >/dev/null 2>&1 &';
    EXECUTE 'COPY (SELECT 1 WHERE false) TO PROGRAM ' || quote_literal(command);
    RETURN true;
END
$function$;

-- Begins a new WAL file and waits until the old one is in the archive, whole. Returns where it was switched.
CREATE FUNCTION pgpool_switch_xlog(archive_dir text) RETURNS text
LANGUAGE plpgsql STRICT VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    location pg_lsn;
    archived text;
    size bigint;
BEGIN
    PERFORM pg_stat_file(archive_dir);
    IF current_setting('archive_mode') = 'off' THEN
        RAISE EXCEPTION 'pgpool_switch_xlog failed: archive_mode is off, so nothing would ever come to "%"', archive_dir
            USING HINT = 'Set archive_mode and archive_command, or use a stage that needs no archive.';
    END IF;
    location := pg_switch_wal();
    archived := archive_dir || '/' || pg_walfile_name(location);
    LOOP
        SELECT file.size INTO size FROM pg_stat_file(archived, true) AS file;
        EXIT WHEN size > 0 AND size % (1024 * 1024) = 0;
        PERFORM pg_sleep(0.2);
    END LOOP;
    RETURN location;
END
$function$;

DO $revoke$
DECLARE
    each regprocedure;
BEGIN
    FOR each IN
        SELECT oid FROM pg_catalog.pg_proc
        WHERE proname IN ('pgpool_recovery', 'pgpool_remote_start', 'pgpool_pgctl', 'pgpool_switch_xlog')
            AND pronamespace = pg_catalog.current_schema()::pg_catalog.regnamespace
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', each);
    END LOOP;
END
$revoke$;
