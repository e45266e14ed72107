// The whole server beside what nothing of its kind can beat, in turns, on one machine. A rate alone says little here; its
// share of the limit in the same run says something.
//
//   node benches/load/bench.mjs STOCKROOM LIMITS [--products=100000] [--rounds=3] [--seconds=5] [--only=W1,W4]
//     [--instances=3]
//
// With `--instances` it also tells what so many strict ones do together, from one on, with the same connections.

import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { cpuOfAll, Server } from './server.mjs';

const [stockroom, limits, ...flags] = process.argv.slice(2);
if (!limits) throw new Error('use: bench.mjs STOCKROOM LIMITS [--products=N] [--rounds=N] [--seconds=N] [--only=W1,W2]');
const flag = (name, otherwise) => flags.find((it) => it.startsWith(`--${name}=`))?.split('=')[1] ?? otherwise;
const products = Number(flag('products', 100_000));
const rounds = Number(flag('rounds', 3));
const seconds = Number(flag('seconds', 5));
const instances = Number(flag('instances', 1));
const only = flag('only', 'W1,W2,W3,W4').split(',');
const CONNECTIONS = 32;
const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'stockroom-bench-'));
const replay = join(dirname(fileURLToPath(import.meta.url)), 'replay.lua');

const PRODUCT = `id version sku slug name price { amount currency } stock { available } rating tags createdAt
  category { id name slug }`;
const LIST = `query List($category: ID!, $sort: [ProductSort!], $after: String) {
  products(first: 20, after: $after, filter: { category: { eq: $category } }, sortBy: $sort) {
    totalCount pageInfo { hasNextPage endCursor } nodes { ${PRODUCT} } } }`;
const ONE = `query One($id: ID!) { product(by: { id: $id }) { ${PRODUCT} } }`;
const STOCK = `mutation Stock($id: ID!) { adjustStock(by: { id: $id }, delta: 1) { product { id stock { available } } } }`;
/** As in limits.rs: the field, its direction, and the value that the limits page by. */
const SORTS = [
  ['CREATED_AT', 'DESC', (node) => node.createdAt],
  ['NAME', 'ASC', (node) => node.name.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase()],
  ['PRICE', 'ASC', ({ price: { amount, currency } }) => currency + Math.round(amount * (currency === 'JPY' ? 1 : 100))],
  ['STOCK', 'DESC', (node) => String(node.stock.available)],
];

async function ask(server, query, variables, token) {
  const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) };
  const response = await fetch(`http://127.0.0.1:${server.port}/graphql`, {
    method: 'POST', headers, body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  if (errors) throw new Error(JSON.stringify(errors));
  return data;
}

/** The UUID in an id of the API. */
const uuid = (id) => Buffer.from(id, 'base64url').toString().split(':')[1];

/** Numbers below a bound that look random, the same each time. */
function dice() {
  let state = 20261125n;
  return (bound) => {
    state = (state * 6364136223846793005n + 1442695040888963407n) % 2n ** 64n;
    return Number(state >> 33n) % bound;
  };
}

/** The items in an order that looks random. */
function shuffled(items) {
  const below = dice();
  for (let last = items.length - 1; last > 0; last--) {
    const other = below(last + 1);
    [items[last], items[other]] = [items[other], items[last]];
  }
  return items;
}

const graphql = (query, variables, token = '-') => `/graphql\t${token}\t${JSON.stringify({ query, variables })}`;
const bare = (path, body) => `${path}\t-\t${JSON.stringify(body)}`;

/** What each workload sends, to Stockroom and to its limit. */
async function workloads(server, token) {
  const { categories } = await ask(server, '{ categories { children { id } } }');
  const shelves = categories.flatMap((room) => room.children.map((child) => child.id));
  const sortBy = (sort) => [{ field: SORTS[sort][0], direction: SORTS[sort][1] }];
  const hot = shelves.slice(0, 5).map((category) => ({ category, sort: sortBy(0) }));
  const all = { W1: { ours: [graphql(LIST, hot[0])], limit: 'memory', theirs: ['/graphql\t-\t{}'] } };
  const sample = JSON.stringify({ data: await ask(server, LIST, hot[0]) });

  if (only.includes('W2') || only.includes('W3')) {
    const [lists, ids] = [[], new Set()];
    const pages = `query($category: ID!, $sort: [ProductSort!], $after: String) {
      products(first: 100, after: $after, filter: { category: { eq: $category } }, sortBy: $sort) {
        pageInfo { hasNextPage endCursor } edges { cursor node { id name createdAt price { amount currency } stock { available } } } } }`;
    for (const category of shelves) {
      for (let sort = 0; sort < SORTS.length; sort++) {
        lists.push({ ours: { category, sort: sortBy(sort) }, theirs: { category: uuid(category), sort } });
        for (let after; ; ) {
          const page = (await ask(server, pages, { category, sort: sortBy(sort), after })).products;
          for (const [place, { cursor, node }] of page.edges.entries()) {
            ids.add(node.id);
            if (place % 10 !== 0) continue;
            const value = [SORTS[sort][2](node), uuid(node.id)];
            lists.push({
              ours: { category, sort: sortBy(sort), after: cursor },
              theirs: { category: uuid(category), sort, after: value },
            });
          }
          after = page.pageInfo.endCursor;
          if (!page.pageInfo.hasNextPage) break;
        }
      }
    }
    shuffled(lists);
    all.W2 = {
      ours: lists.map((list) => graphql(LIST, list.ours)), limit: 'rows',
      theirs: lists.map((list) => bare('/list', list.theirs)),
    };
    const some = shuffled([...ids]).slice(0, 50_000);
    all.W3 = {
      ours: some.map((id) => graphql(ONE, { id })), limit: 'rows',
      theirs: some.map((id) => bare('/product', { id: uuid(id) })),
    };
  }

  // Nineteen reads, then a write to a product that is on one of the lists.
  const mixed = { ours: [], theirs: [] };
  const [shown, below] = [[], dice()];
  for (const list of hot) shown.push(...(await ask(server, LIST, list)).products.nodes.map((node) => node.id));
  for (let number = 0; number < 4_000; number++) {
    if (number % 20 === 19) {
      const id = shown[below(shown.length)];
      mixed.ours.push(graphql(STOCK, { id }, token));
      mixed.theirs.push(bare('/stock', { id: uuid(id) }));
    } else {
      const list = hot[number % hot.length];
      mixed.ours.push(graphql(LIST, list));
      mixed.theirs.push(bare('/list', { category: uuid(list.category), sort: 0 }));
    }
  }
  all.W4 = { ...mixed, limit: 'lists' };
  return { all, sample };
}

/** One run of wrk. */
async function load(target, lines, time, postgres, connections = CONNECTIONS) {
  const file = join(folder, `${target.name}.tsv`);
  writeFileSync(file, lines.join('\n'));
  const url = `http://127.0.0.1:${target.port}`;
  const before = [target.cpu(), cpuOfAll(postgres)];
  const wrk = ['-t1', '--timeout', '30s', `-c${connections}`, `-d${time}`, '-s', replay, url, '--', file];
  const { stdout } = await run('wrk', wrk, { maxBuffer: 1 << 20 });
  const told = JSON.parse(stdout.trim().split('\n').at(-1));
  if (told.failed > 0) throw new Error(`${target.name}: ${told.failed} requests failed`);
  const each = (now, then) => ((now - then) / told.requests) * 1e6;
  return {
    rate: (told.requests / told.micros) * 1e6,
    cpu: each(target.cpu(), before[0]),
    postgres: each(cpuOfAll(postgres), before[1]),
    p99: told.p99 / 1000,
  };
}

const median = (numbers) => numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

async function main() {
  const keeper = await Server.stockroom(stockroom, 'keeper', ['--data-dir', join(folder, 'data')], folder);
  const data = join(folder, 'data');
  const secret = readFileSync(join(data, 'postgres.password'), 'utf8').trim();
  const [postgres, , , port] = readFileSync(join(data, 'postgres', 'postmaster.pid'), 'utf8').split('\n').map(Number);
  const url = `postgres://stockroom:${secret}@127.0.0.1:${port}/stockroom?sslmode=disable`;
  await run(stockroom, ['seed', '--products', String(products), '--statement-timeout', '1m', '--data-dir', data], { cwd: folder });
  await run('psql', [url, '-q', '-c', 'VACUUM ANALYZE', '-c', 'ALTER DATABASE stockroom SET synchronous_commit = off']);

  const key = join(folder, 'key.pem');
  writeFileSync(key, (await run(stockroom, ['keys', 'generate'])).stdout, { mode: 0o600 });
  const common = ['--database-url', url, '--jwt-private-key-file', key, '--access-token-ttl', '2h'];
  const modes = { strict: 'strict', bounded: 'bounded:100ms' };
  const targets = {};
  for (const [mode, freshness] of Object.entries(modes)) {
    targets[mode] = await Server.stockroom(stockroom, mode, [...common, '--freshness', freshness], folder);
  }
  const [email, password] = readFileSync(join(data, 'demo-accounts'), 'utf8').split('\n')[0].split(' ');
  const login = 'mutation($input: LoginInput!) { login(input: $input) { tokens { accessToken } } }';
  const { accessToken } = (await ask(targets.strict, login, { input: { email, password } })).login.tokens;
  const { all, sample } = await workloads(targets.strict, accessToken);
  writeFileSync(join(folder, 'sample.json'), sample);
  targets.memory = await Server.limit(limits, 'memory', ['memory', join(folder, 'sample.json')]);
  targets.rows = await Server.limit(limits, 'rows', ['rows', url]);
  targets.lists = await Server.limit(limits, 'lists', ['lists', url]);

  const results = {};
  for (const name of only) {
    const { ours, theirs, limit } = all[name];
    const names = [limit, ...Object.keys(modes)];
    const found = Object.fromEntries(names.map((it) => [it, []]));
    for (let round = 0; round < rounds; round++) {
      // Another one first each time.
      for (let turn = 0; turn < names.length; turn++) {
        const target = names[(turn + round) % names.length];
        const lines = target === limit ? theirs : ours;
        // Distinct requests are for the measured part.
        const warm = lines.length > 10_000 ? lines.slice(0, 2_000) : lines;
        const rest = lines.length > 10_000 ? [...lines.slice(2_000 + round * 8_000), ...lines.slice(0, 2_000 + round * 8_000)] : lines;
        await load(targets[target], warm, 1, postgres);
        found[target].push(await load(targets[target], rest, seconds, postgres));
        process.stderr.write('.');
      }
    }
    results[name] = Object.fromEntries(names.map((it) => [it, {
      rate: median(found[it].map((one) => one.rate)),
      cpu: median(found[it].map((one) => one.cpu)),
      postgres: median(found[it].map((one) => one.postgres)),
      p99: median(found[it].map((one) => one.p99)),
    }]));
    results[name].limit = limit;
    process.stderr.write(` ${name} `);
  }
  process.stderr.write('\n');

  const others = [];
  while (others.length + 1 < instances) {
    others.push(await Server.stockroom(stockroom, `strict-${others.length + 2}`, common, folder));
  }
  for (const name of others.length ? only : []) {
    for (let count = 1; count <= instances; count++) {
      const runs = [targets.strict, ...others].slice(0, count).map((target, place) => {
        // Each begins elsewhere.
        const { ours } = all[name];
        const start = Math.floor((ours.length / count) * place);
        const lines = [...ours.slice(start), ...ours.slice(0, start)];
        return load(target, lines, seconds, postgres, Math.floor(CONNECTIONS / count));
      });
      const done = await Promise.all(runs);
      const sum = (of) => done.reduce((all, one) => all + of(one), 0);
      const [rate, cpu] = [sum(({ rate }) => rate), sum(({ rate, cpu }) => rate * cpu)];
      console.log(`${name} ${count} instance${count > 1 ? 's' : ''} ${Math.round(rate)}/s  server ${(cpu / rate).toFixed(0)} us each`);
    }
  }

  const memory = { strict: targets.strict.memory(), bounded: targets.bounded.memory() };
  console.log(`${availableParallelism()} cores (${cpus()[0].model}), ${Math.round(totalmem() / 2 ** 30)} GiB, ${products} products, `
    + `${CONNECTIONS} connections, ${rounds} rounds of ${seconds} s, medians`);
  for (const [mode, mib] of Object.entries(memory)) console.log(`${mode}: ${mib} MiB resident at the end`);
  for (const [name, result] of Object.entries(results)) {
    for (const target of [result.limit, ...Object.keys(modes)]) {
      const { rate, cpu, postgres: database, p99 } = result[target];
      const [own, theirs] = [cpu, database].map((us) => us.toFixed(0).padStart(4));
      console.log(`${name} ${target.padEnd(8)} ${Math.round(rate).toString().padStart(7)}/s  server ${own} us, `
        + `PostgreSQL ${theirs} us each  p99 ${p99.toFixed(1)} ms`);
    }
  }
  writeFileSync(flag('out', join(folder, 'results.json')), JSON.stringify(results, null, 2));
  for (const [name, result] of Object.entries(results)) {
    for (const mode of Object.keys(modes)) {
      const share = (result[mode].rate / result[result.limit].rate).toFixed(2);
      console.log(`${name} ${mode} ${Math.round(result[mode].rate)}/s ${share} of ${result.limit}`);
    }
  }
  for (const target of [...others, ...Object.values(targets), keeper]) await target.stop();
}

try {
  await main();
} finally {
  Server.stopAll();
  rmSync(folder, { recursive: true, force: true });
}
