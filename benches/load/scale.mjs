// How the cost of a request grows with the catalogue.
//
//   node benches/load/scale.mjs STOCKROOM [--sizes=10000,100000,1000000] [--times=60] [--data-dir=FOLDER]
//
// One database grows from size to size, and is kept where a folder for it is given. Each question is asked of a server
// that remembers nothing, except for the warm list, one after the other; the medians of the time that a client waits,
// and how much more that is than at first.

import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { Server } from './server.mjs';

const [stockroom, ...flags] = process.argv.slice(2);
if (!stockroom) throw new Error('use: scale.mjs STOCKROOM [--sizes=N,N] [--times=N] [--data-dir=FOLDER]');
const flag = (name, otherwise) => flags.find((it) => it.startsWith(`--${name}=`))?.split('=')[1] ?? otherwise;
const sizes = flag('sizes', '10000,100000,1000000').split(',').map(Number);
const times = Number(flag('times', 60));
const folder = mkdtempSync(join(tmpdir(), 'stockroom-scale-'));
const data = flag('data-dir', join(folder, 'data'));
const run = promisify(execFile);

const LIST = `query($filter: ProductFilter, $sortBy: [ProductSort!], $after: String, $search: String, $offset: Int) {
  products(first: 20, filter: $filter, sortBy: $sortBy, after: $after, search: $search, offset: $offset) {
    pageInfo { hasNextPage endCursor } edges { cursor node { id sku name price { amount currency } stock { available } category { name } } }
    KIND
  } }`;
const list = (more = '') => LIST.replace('KIND', more);
const sort = (field, direction) => [{ field, direction }];
const SORTS = ['CREATED_AT', 'UPDATED_AT', 'NAME', 'PRICE', 'RATING', 'STOCK'];

async function ask(server, query, variables) {
  const began = performance.now();
  const response = await fetch(`http://127.0.0.1:${server.port}/graphql`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ query, variables }),
  });
  const { data: answer, errors } = await response.json();
  if (errors) throw new Error(JSON.stringify({ errors, variables }));
  return { answer, took: performance.now() - began };
}

const median = (numbers) => numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

/** Each question by its name: a function of a number that is another one each time. */
async function questions(server) {
  const { answer } = await ask(server, '{ categories { children { id } } }', {});
  const shelves = answer.categories.flatMap((room) => room.children.map((child) => child.id));
  const shelf = (number) => ({ category: { eq: shelves[number % shelves.length] } });
  const page = async (variables) => (await ask(server, list(), variables)).answer.products;
  const ids = (await page({ sortBy: sort('NAME', 'ASC') })).edges.map((edge) => edge.node);
  const all = { 'product by id': (n) => ['query($id: ID!) { product(by: { id: $id }) { id name category { name } } }', { id: ids[n % 20].id }] };
  for (const field of SORTS) {
    const { endCursor } = (await page({ sortBy: sort(field, 'DESC'), offset: 5_000 })).pageInfo;
    all[`by ${field}`] = () => [list(), { sortBy: sort(field, 'DESC') }];
    all[`by ${field}, deep`] = () => [list(), { sortBy: sort(field, 'DESC'), after: endCursor }];
    all[`by ${field}, in a category`] = (n) => [list(), { filter: shelf(n), sortBy: sort(field, 'ASC') }];
  }
  all['with a count up to 1,000'] = (n) => [list('count(atMost: 1000) { value }'), { filter: shelf(n) }];
  all['with its exact count'] = (n) => [list('totalCount'), { filter: shelf(n) }];
  all['search, a word'] = (n) => [list(), { search: ids[n % 20].name.split(' ')[0] }];
  all['search, three words'] = (n) => [list(), { search: ids[n % 20].name }];
  all['search, part of a SKU'] = (n) => [list(), { search: ids[n % 20].sku.slice(0, 8) }];
  all['search, a typo'] = (n) => [list(), { search: ids[n % 20].name.split(' ').slice(0, 2).join(' ').replace(/[aeo]/, 'u') }];
  return all;
}

async function main() {
  const found = {};
  const keeper = await Server.stockroom(stockroom, 'keeper', ['--data-dir', data], folder);
  const secret = readFileSync(join(data, 'postgres.password'), 'utf8').trim();
  const port = readFileSync(join(data, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[3].trim();
  const url = `postgres://stockroom:${secret}@127.0.0.1:${port}/stockroom?sslmode=disable`;
  const key = join(folder, 'key.pem');
  writeFileSync(key, (await run(stockroom, ['keys', 'generate'])).stdout, { mode: 0o600 });
  const common = ['--database-url', url, '--jwt-private-key-file', key, '--statement-timeout', '60s', '--request-timeout', '60s'];
  for (const size of sizes) {
    const seed = spawn(stockroom, ['seed', '--products', String(size), '--statement-timeout', '1m', '--data-dir', data], { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'] });
    await new Promise((resolve, reject) => seed.on('exit', (code) => (code ? reject(new Error(`seed ended with ${code}`)) : resolve())));
    await run('psql', [url, '-q', '-c', 'VACUUM ANALYZE']);
    const warm = await Server.stockroom(stockroom, 'warm', common, folder);
    const cold = await Server.stockroom(stockroom, 'cold', [...common, '--cache-ttl', '1ns', '--response-memory-mib', '0'], folder);
    const all = await questions(cold);
    const measure = async (name, server, question) => {
      const took = [];
      for (let number = 0; number < times + 5; number++) {
        took.push((await ask(server, ...question(number))).took);
        // What takes long needs no many.
        if (took.length >= 5 && took.reduce((a, b) => a + b) > 20_000) break;
      }
      const typical = median(took.slice(Math.min(5, took.length - 1)));
      (found[name] ??= []).push(typical);
      console.error(`${size.toLocaleString('en')} products, ${name}: ${typical.toFixed(2)} ms`);
    };
    await measure('a warm list', warm, () => [list(), { sortBy: sort('CREATED_AT', 'DESC') }]);
    for (const [name, question] of Object.entries(all)) await measure(name, cold, question);
    await warm.stop();
    await cold.stop();
  }
  console.log(`median milliseconds of ${times} requests, one after the other, at ${sizes.map((size) => size.toLocaleString('en')).join(', ')} products; the growth`);
  for (const [name, took] of Object.entries(found)) {
    console.log(`${name.padEnd(34)} ${took.map((ms) => ms.toFixed(2).padStart(9)).join('')}   x${(took.at(-1) / took[0]).toFixed(2)}`);
  }
  await keeper.stop();
}

try {
  await main();
} finally {
  Server.stopAll();
  rmSync(folder, { recursive: true, force: true });
}
