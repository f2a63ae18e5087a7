"""A tour of psycopg 3: prints what it got, so that two ways to the same cluster can be compared line by line."""

import psycopg
from psycopg import sql

with psycopg.connect("", autocommit=True, client_encoding="utf8") as conn:
    print("server", conn.info.server_version, conn.info.parameter_status("client_encoding"))

    print("constants", conn.execute("SELECT 1, 'ä', NULL, 1.5::numeric, now() IS NOT NULL").fetchone())
    for number in range(8):  # psycopg prepares a statement on its own after the fifth time
        print("prepared", conn.execute("SELECT %s::int * 2, %s::text", (number, "x" * number)).fetchone())
    print("binary", conn.execute("SELECT %b::bytea, 2::int8", (bytes(range(256)),), binary=True).fetchone())

    with conn.transaction():
        conn.execute("CREATE TABLE tour (id int PRIMARY KEY, note text)")
        with conn.cursor() as cur:
            cur.executemany("INSERT INTO tour VALUES (%s, %s)", [(n, f"note {n}") for n in range(50)])
            print("inserted", cur.rowcount)
        print("seen", conn.execute("SELECT count(*), max(note) FROM tour").fetchone())
        try:
            with conn.transaction():
                conn.execute("INSERT INTO tour VALUES (1, 'twice')")
        except psycopg.errors.UniqueViolation as error:
            print("violation", error.sqlstate, error.diag.constraint_name)
        print("after savepoint", conn.execute("UPDATE tour SET note = upper(note) WHERE id < %s", (3,)).rowcount)

    with conn.transaction():
        with conn.cursor(name="walk") as cur:
            cur.execute("SELECT id FROM tour ORDER BY id DESC")
            print("cursor", cur.fetchmany(3), cur.fetchmany(2))

    with conn.transaction(), conn.pipeline():
        cursors = [conn.execute("SELECT note FROM tour WHERE id = %s", (n,)) for n in (1, 2, 40)]
        print("pipeline", [cur.fetchone() for cur in cursors])

    with conn.cursor() as cur:
        with cur.copy("COPY tour FROM STDIN") as copy:
            for n in range(1000, 1100):
                copy.write_row((n, "line\nbreak\tand tab"))
        with conn.transaction():  # keeps the read beside the write, also when reads go to standbys
            conn.execute("UPDATE tour SET note = note WHERE id = 0")
            with cur.copy("COPY (SELECT * FROM tour WHERE id >= 1098 ORDER BY id) TO STDOUT") as copy:
                print("copied", [row for row in copy.rows()])

    for statement in ["SELECT nonsense", "SELEC 1", "SELECT 1/0", "SELECT * FROM nowhere"]:
        try:
            conn.execute(statement)
        except psycopg.Error as error:
            print("error", error.sqlstate, str(error).splitlines()[0])
    notices = []
    conn.add_notice_handler(lambda diag: notices.append((diag.severity, diag.message_primary)))
    conn.execute("DO $$ BEGIN RAISE NOTICE 'heard'; RAISE WARNING 'and seen'; END $$")
    print("notices", notices)

    conn.execute("LISTEN tour")
    conn.execute("NOTIFY tour, 'hello'")
    for note in conn.notifies(timeout=10, stop_after=1):
        print("notification", note.channel, note.payload)
    conn.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier("tour")))
print("done")
