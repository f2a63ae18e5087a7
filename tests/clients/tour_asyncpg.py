"""A tour of asyncpg: prints what it got, so that two ways to the same cluster can be compared line by line."""

import asyncio

import asyncpg


async def errors(conn):
    for statement, values in [("SELECT nonsense", ()), ("SELEC 1", ()), ("SELECT 1 / $1::int", (0,)), ("SELECT * FROM nowhere", ())]:
        try:
            await conn.fetch(statement, *values)
        except asyncpg.PostgresError as error:
            print("error", error.sqlstate, error)


async def main():
    conn = await asyncpg.connect(ssl=False)
    print("server", conn.get_server_version().major, conn.get_settings().client_encoding)
    row = await conn.fetchrow("SELECT 1, 'ä', NULL::text, 1.5::numeric, ARRAY[1, 2], '{\"a\": 1}'::jsonb, interval '1 day'")
    print("types", tuple(row))
    for number in range(4):
        print("cached", await conn.fetchval("SELECT $1::int * 2", number))

    await conn.execute("CREATE TABLE tour (id int PRIMARY KEY, note text); CREATE TYPE mood AS ENUM ('sad', 'glad')")
    await conn.executemany("INSERT INTO tour VALUES ($1, $2)", [(n, f"note {n}") for n in range(50)])
    print("seen", tuple(await conn.fetchrow("SELECT count(*), max(note) FROM tour")))
    # A type that the driver must look up in the catalog.
    print("enum", await conn.fetchval("SELECT $1::mood", "glad"))

    async with conn.transaction():
        await conn.execute("UPDATE tour SET note = upper(note) WHERE id < 3")
        try:
            async with conn.transaction():
                await conn.execute("INSERT INTO tour VALUES (1, 'twice')")
        except asyncpg.UniqueViolationError as error:
            print("violation", error.sqlstate, error.constraint_name)
        print("after savepoint", await conn.fetchval("SELECT note FROM tour WHERE id = 1"))
        walked = [record["id"] async for record in conn.cursor("SELECT id FROM tour ORDER BY id DESC LIMIT 7", prefetch=3)]
        print("cursor", walked)
        walk = await conn.cursor("SELECT id FROM tour ORDER BY id")
        print("fetched", await walk.fetchrow(), len(await walk.fetch(5)), await walk.forward(2))

    prepared = await conn.prepare("SELECT note FROM tour WHERE id = $1")
    print("parameters", [kind.name for kind in prepared.get_parameters()], [column.name for column in prepared.get_attributes()])
    print("prepared", [await prepared.fetchval(n) for n in (1, 2, 40)])
    print("copied", await conn.copy_records_to_table("tour", records=[(n, "a\tb\nc") for n in range(1000, 1100)]))
    print("copied out", await conn.copy_from_query("SELECT * FROM tour WHERE id >= 1098 ORDER BY id", output=lambda data: asyncio.sleep(0)))
    async with conn.transaction(readonly=True, isolation="repeatable_read"):
        print("read only", await conn.fetchval("SELECT count(*) FROM tour"))
    await errors(conn)
    # What was prepared fails once its table has changed, and the driver prepares it anew.
    print("before", tuple(await conn.fetchrow("SELECT * FROM tour WHERE id = 7")))
    await conn.execute("ALTER TABLE tour ADD COLUMN more int DEFAULT 5")
    print("after", tuple(await conn.fetchrow("SELECT * FROM tour WHERE id = 7")))

    notices, notes = [], asyncio.Queue()
    conn.add_log_listener(lambda _, message: notices.append(message.message))
    await conn.execute("DO $$ BEGIN RAISE NOTICE 'heard'; END $$")
    print("notices", notices)
    await conn.add_listener("tour", lambda _, __, channel, payload: notes.put_nowait((channel, payload)))
    await conn.execute("NOTIFY tour, 'hello'")
    print("notification", await asyncio.wait_for(notes.get(), 10))
    try:
        await conn.fetch("SELECT pg_sleep(30)", timeout=0.3)
    except asyncio.TimeoutError:
        print("cancelled")
    await conn.reset()
    print("after reset", await conn.fetchval("SELECT 1"))
    await conn.execute("DROP TABLE tour; DROP TYPE mood")
    await conn.close()


asyncio.run(main())
print("done")
