// The stories of the pages, one after the other, each on a server of its own in a scratch folder.
//
//   node tests/browser/run.mjs path/to/stockroom [story ...]

import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const [binary, ...chosen] = process.argv.slice(2);
if (!binary) {
  console.error('usage: run.mjs path/to/stockroom [graphiql|customer|staff ...]');
  process.exit(2);
}
const STORIES = ['graphiql', 'customer', 'staff'];
const ACCOUNT = ['staff@stories.test', 'correct horse battery'];

function freePort() {
  return new Promise((done, failed) => {
    const listener = net.createServer().on('error', failed);
    listener.listen(0, '127.0.0.1', () => {
      const { port } = listener.address();
      listener.close(() => done(port));
    });
  });
}

async function tell(story) {
  const folder = mkdtempSync(join(tmpdir(), 'stockroom-story-'));
  const [data, address] = [join(folder, 'data'), `127.0.0.1:${await freePort()}`];
  const unlimited = ['--rate-limit', 'off', '--login-limit', 'off', '--login-address-limit', 'off'];
  const serve = ['serve', '--data-dir', data, '--listen-addr', address, '--log', 'warn', ...unlimited];
  const server = spawn(resolve(binary), serve, { stdio: ['ignore', 'ignore', 'inherit'] });
  const ended = new Promise((done) => server.on('exit', done));
  try {
    for (let tries = 0; tries < 100; tries++) {
      if ((await fetch(`http://${address}/readyz`).catch(() => undefined))?.ok) break;
      await sleep(200);
    }
    const account = ['user', 'create', ACCOUNT[0], '--role', 'STAFF', '--name', 'Sam Staff', '--password-stdin', '--data-dir', data];
    spawnSync(resolve(binary), account, { input: ACCOUNT[1] });
    const given = [`http://${address}/graphql`, ...ACCOUNT, ...(story === 'customer' ? [join(data, 'outbox')] : [])];
    const told = spawn(process.execPath, [`${story}.mjs`, ...given], { cwd: import.meta.dirname, stdio: 'inherit' });
    return await new Promise((done) => told.on('exit', done));
  } finally {
    server.kill('SIGTERM');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  }
}

let failed = 0;
for (const story of chosen.length ? chosen : STORIES) failed += (await tell(story)) === 0 ? 0 : 1;
process.exit(failed ? 1 : 0);
