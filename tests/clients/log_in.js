// Logs in as each line of standard input says: a JSON object of an id and settings of libpq. For each it prints the id, whether
// it came in, and as whom, or why not: "CODE: text".
const fs = require('fs');
const { Client } = require('pg');

function settings({ host, port, user, dbname, password, sslmode, sslcert, sslkey, channel_binding }) {
  const ssl = sslmode === 'require' && { rejectUnauthorized: false };
  if (ssl && sslcert) {
    Object.assign(ssl, { cert: fs.readFileSync(sslcert), key: fs.readFileSync(sslkey) });
  }
  // As a function, so that an empty one is sent, too.
  return { host, port, user, database: dbname, ssl, password: () => password, enableChannelBinding: channel_binding === 'require' };
}

async function logIn(cell) {
  const client = new Client(settings(cell.settings));
  client.on('error', () => {});
  try {
    await client.connect();
    const { rows } = await client.query('SELECT current_user');
    await client.end();
    return [cell.id, true, rows[0].current_user];
  } catch (error) {
    client.connection.stream.destroy();
    return [cell.id, false, `${error.code}: ${error.message}`];
  }
}

const cells = fs.readFileSync(0, 'utf8').trim().split('\n').map(JSON.parse);

async function work() {
  for (let cell = cells.shift(); cell; cell = cells.shift()) {
    console.log(JSON.stringify(await logIn(cell)));
  }
}

Promise.all([work(), work(), work(), work()]);
