// A tour of node-postgres: prints what it got, so that two ways to the same cluster can be compared line by line.
const { Client, Pool } = require('pg');

const show = (name, value) => console.log(name, JSON.stringify(value));

async function failing(client, text) {
  try {
    await client.query(text);
  } catch (error) {
    show('error', [error.code, error.message]);
  }
}

async function main() {
  const client = new Client();
  client.on('notice', (notice) => show('notice', [notice.severity, notice.message]));
  await client.connect();

  show('constants', (await client.query("SELECT 1 AS one, 'ä' AS text, NULL AS nothing, 1.5::float8 AS real")).rows);
  for (let n = 0; n < 5; n++) {
    show('parameters', (await client.query('SELECT $1::int * 2 AS twice', [n])).rows);
    show('named', (await client.query({ name: 'thrice', text: 'SELECT $1::int * 3 AS thrice', values: [n] })).rows);
  }
  show('many', (await client.query('SELECT 1 AS a; SELECT 2 AS b')).map((result) => result.rows));

  await client.query('CREATE TABLE trip (id int PRIMARY KEY, note text, at jsonb)');
  await client.query('BEGIN');
  for (let n = 0; n < 20; n++) {
    await client.query('INSERT INTO trip VALUES ($1, $2, $3)', [n, `note ${n}`, { n }]);
  }
  show('seen', (await client.query('SELECT count(*)::int, max(note) FROM trip')).rows);
  await client.query('COMMIT');
  show('updated', (await client.query('UPDATE trip SET note = upper(note) WHERE id < 3')).rowCount);
  show('returning', (await client.query('DELETE FROM trip WHERE id = 19 RETURNING id, at')).rows);

  await failing(client, 'SELECT nonsense');
  await failing(client, 'SELEC 1');
  await failing(client, 'SELECT 1/0');
  await client.query("DO $$ BEGIN RAISE NOTICE 'heard'; END $$");

  const heard = new Promise((resolve) => client.once('notification', resolve));
  await client.query('LISTEN trip');
  await client.query("NOTIFY trip, 'hello'");
  const { channel, payload } = await heard;
  show('notification', [channel, payload]);

  const pool = new Pool({ max: 4 });
  const sums = await Promise.all(
    [1, 2, 3, 4, 5, 6, 7, 8].map((n) => pool.query('SELECT sum(i)::int AS sum FROM generate_series(1, $1::int) i', [n])),
  );
  show('pool', sums.map((result) => result.rows[0].sum));
  await pool.end();

  await client.query('DROP TABLE trip');
  await client.end();
  show('done', true);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
