// The server stops while the shop is looked at, and starts again.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Api, signIn, story } from './browser.mjs';

const [EMAIL, PASSWORD] = ['staff@stories.test', 'correct horse battery'];

await story('restart.mjs BINARY', 1, 3, async (story, binary) => {
  const folder = await mkdtemp(join(tmpdir(), 'stockroom-restart-'));
  const port = await freePort();
  story.origin = `http://127.0.0.1:${port}`;
  const place = ['--data-dir', folder, '--listen-addr', `127.0.0.1:${port}`, '--rate-limit', 'off', '--log', 'error'];
  const start = async () => {
    const server = spawn(binary, ['serve', ...place], { stdio: ['ignore', 'pipe', 'inherit'] });
    process.once('exit', () => server.kill('SIGTERM'));
    let said = '';
    for await (const part of server.stdout) {
      said += part;
      if (said.includes('Ctrl-C')) break;
    }
    return server;
  };

  let server = await start();
  const account = ['user', 'create', EMAIL, '--role', 'STAFF', '--password-stdin', '--data-dir', folder];
  execFileSync(binary, account, { input: PASSWORD, stdio: ['pipe', 'ignore', 'inherit'] });
  const api = await new Api(story.origin).signIn(EMAIL, PASSWORD);
  const chair = await api.product({ sku: 'CHA-901', name: 'Restart Dining Chair', stock: 50 });
  const page = await story.window();
  const main = page.getByRole('main');

  await story.check('The shop says that the server is away, and shows what it has.', async () => {
    await signIn(page, EMAIL, PASSWORD, '/staff');
    await page.getByRole('link', { name: 'Restart Dining Chair' }).waitFor();
    await page.goto(`/product/${chair.slug}`);
    await main.getByText('50 in stock').waitFor();
    await page.waitForLoadState('networkidle');
    server.kill('SIGKILL');
    await once(server, 'exit');
    await page.getByText('No connection to the stockroom.').waitFor();
    await main.getByText('50 in stock').waitFor();
  });
  await story.check('What cannot be loaded says so.', async () => {
    await main.getByRole('link', { name: 'All aisles' }).click();
    await main.getByRole('heading', { name: 'This did not load' }).first().waitFor();
    await page.goBack();
  });
  await story.check('It goes on by itself once the server is back, with what happened meanwhile.', async () => {
    server = await start();
    await new Api(story.origin).signIn(EMAIL, PASSWORD).then((again) => again.update(chair.id, { stock: 7 }));
    await page.getByText('No connection to the stockroom.').waitFor({ state: 'hidden' });
    await main.getByText('7 in stock').waitFor();
    await page.getByRole('button', { name: /Account of/ }).waitFor();
    await main.getByRole('link', { name: 'All aisles' }).click();
    await main.getByRole('link', { name: 'Restart Dining Chair' }).waitFor();
  });
  // Where a check failed it may be gone already.
  if (server.exitCode === null && server.kill('SIGTERM')) await once(server, 'exit');
  await rm(folder, { recursive: true, force: true });
});

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
