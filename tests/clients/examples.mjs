// Runs the examples as their readers do. TOKEN is the access token of a staff user, KIT the folder of the kit, in one
// of its own.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { cpSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { Inbox, check, finish, parameters } from './check.mjs';
import { register, stocked } from './kit.mjs';
import { Shop } from './shop.mjs';

const SECONDS = 60;
const EXAMPLES = ['apollo', 'codegen', 'urql'];
const [url, token, kit] = parameters('examples.mjs URL TOKEN KIT', 3, 3 * SECONDS);
const here = dirname(fileURLToPath(import.meta.url));
const folder = `${dirname(kit)}/examples`;
cpSync(`${here}/../../examples`, folder, { recursive: true });
for (const example of EXAMPLES) symlinkSync(kit, `${folder}/${example}/kit`);

const running = [];

/** What an example says, by the line, as it says it. */
function start(example, ...given) {
  const child = spawn('npm', ['start', '--silent', '--', url, ...given], {
    cwd: `${folder}/${example}`,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.push(child);
  const said = new Inbox();
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const line of lines) said.add(line);
  });
  child.stderr.setEncoding('utf8').on('data', (text) => said.add(text));
  child.on('close', (code) => said.end(`it ended with ${code}`));
  return said;
}

const shop = new Shop(url, token);
const ids = await stocked(shop, 5);
const { email, password } = await register(url);

await check(
  'examples/apollo signs in, and loads one page after the other.',
  async () => {
    const said = start('apollo', email, password);
    await said.find((line) => line === `Signed in: ${email}`, 'who is signed in', SECONDS);
    await said.find((line) => line === 'Chair 0, Chair 1', 'the first page');
    await said.find((line) => line === 'Chair 0, Chair 1, Chair 2, Chair 3', 'both pages');
  },
  SECONDS,
);

await check(
  'examples/urql shows the stock as it changes.',
  async () => {
    const said = start('urql', email, password);
    await said.find((line) => line === 'Chair 0: 3, Chair 1: 3, Chair 2: 3', 'the stock', SECONDS);
    // From the first event that is seen, none is missed.
    while (said.items.length < 2) {
      await shop.adjustStock(ids[0], 1);
      await pause(50);
    }
    await shop.adjustStock(ids[1], 1000);
    await said.find((line) => line.includes('Chair 1: 1003'), 'the new stock');
  },
  SECONDS,
);

await check(
  'examples/codegen makes types, and finds with them.',
  async () => {
    const said = start('codegen', 'chair');
    await said.find((line) => line === 'Chair 4: 10.00 EUR', 'a product', SECONDS);
  },
  SECONDS,
);

await check(
  'The examples compile, are short, and name the releases that they are tested with.',
  async () => {
    const compilerOptions = {
      target: 'ES2022',
      module: 'ESNext',
      moduleResolution: 'bundler',
      types: ['node'],
      strict: true,
      resolveJsonModule: true,
      skipLibCheck: true,
      noEmit: true,
    };
    writeFileSync(`${folder}/tsconfig.json`, JSON.stringify({ compilerOptions, include: ['*/*.ts'] }));
    const tsc = await promisify(execFile)(`${here}/node_modules/.bin/tsc`, { cwd: folder }).catch((error) => error);
    assert.equal(tsc.stdout, '');
    const tested = JSON.parse(readFileSync(`${here}/package.json`, 'utf8')).dependencies;
    for (const example of EXAMPLES) {
      const place = `${here}/../../examples/${example}`;
      for (const [name, release] of Object.entries(
        JSON.parse(readFileSync(`${place}/package.json`, 'utf8')).dependencies,
      )) {
        assert.equal(release, tested[name], name);
      }
      const code = readdirSync(place).filter((name) => /\.(ts|graphql)$/.test(name));
      const lines = code.reduce(
        (sum, name) => sum + readFileSync(`${place}/${name}`, 'utf8').split('\n').length - 1,
        0,
      );
      assert.ok(lines < 60, `${example} has ${lines} lines`);
    }
  },
  SECONDS,
);

for (const { pid } of running) {
  try {
    process.kill(-pid);
  } catch {
    // It ended by itself.
  }
}
await shop.tidy();
finish(4);
