// Attacks a server and looks how an honest client fares meanwhile.
//
//   node tests/attacks/attack.mjs path/to/stockroom [--only name[,name]] [--list]
//
// Needs Linux and Node.js 20; starts the server itself, in a scratch folder, on loopback, with bounded memory. An attack
// comes in rounds, each after a quiet time, so that whatever else the machine does meets both; how much longer an honest
// client waits is the median of the rounds' ratios. A behaviour that is missed makes the exit code 1, and so does a p99
// that is too long where this process may be of the real-time class, as root's may (see players.mjs). Elsewhere a ratio
// above 1.5 is only flagged with `!`, for it is the scheduler's as much as the server's. All takes six minutes.

import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

import { percentile } from './load.mjs';
import { attacker, dismiss, dismissAll, hear, honestClient, isFirst } from './players.mjs';
import { memory } from './proc.mjs';
import { Server, killAll } from './server.mjs';
import { sleep } from './wire.mjs';

// What hashes of passwords may take in MiB: 19 for each that may run at once, and 64 for all who wait.
const HASHING = 19 * Math.max(1, availableParallelism() - 1) + 64;

// `run` is the attack's function; `growth` the most MiB that the server may grow by; `fresh` the most milliseconds that
// an honest client's new connection may take; `longer` how many times as long its p99 may be, which is more where
// attackers ask for what anybody may ask for, thousands of times, until their budget is spent, and where passwords are
// hashed: Linux stops a core for a twentieth of each second on which something real-time never rests. `quiet` and `busy`
// are the milliseconds before and during each of the `rounds`; an attack that has an end of its own may take longer.
// `own` are the limits of a server of its own.
const ATTACKS = [
  { name: 'slowloris', run: 'slowloris', about: '500 connections, headers at one byte a second', rounds: 3 },
  { name: 'silent', run: 'silent', about: '2,000 connections that say nothing', rounds: 3, fresh: 100 },
  { name: 'visitors', run: 'visitors', about: 'for comparison: 2,000 clients that ask one small thing each', busy: 3000 },
  { name: 'slow-body', run: 'slowBody', about: '500 bodies at one byte a second', rounds: 2 },
  { name: 'slow-reader', run: 'slowReader', about: '200 clients that do not read', rounds: 1, growth: 200, longer: 20 },
  { name: 'harmless', run: 'harmless', about: 'for comparison: small queries in bodies of all sizes, 20 at once, ten times a second' },
  { name: 'deep', run: 'deep', about: 'values 33 to 100,000 deep, 20 at once, ten times a second', growth: 48 },
  { name: 'fan-out', run: 'fanOut', about: 'fragments that spread each other, 20 at once, ten times a second', growth: 48 },
  { name: 'wide', run: 'wide', about: 'too many of everything, 20 at once, ten times a second', growth: 48 },
  { name: 'variables', run: 'variables', about: 'values that are none, 20 at once, ten times a second', growth: 40 },
  { name: 'tokens', run: 'tokens', about: 'access tokens of unknown keys, 50 at a time, without a rest' },
  { name: 'logins', run: 'logins', about: 'many logins in one document, 20 at once, ten times a second' },
  { name: 'sign-ins', run: 'signIns', about: '200 who sign in without a rest, half of whom hang up', rounds: 3, growth: HASHING, longer: 2 },
  { name: 'files', run: 'files', about: '400 connections to a server that has 256 files', own: { files: 256 } },
  { name: 'stop', run: 'stop', about: 'SIGTERM under load, with 20 slow clients', own: {}, ends: true },
];
const DEFAULTS = { quiet: 2000, busy: 2500, rounds: 5, growth: 100, longer: 1.5 };
const LONGEST_ATTACK_MS = 50_000;
const LONGEST_RUN_MS = 410_000;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string' }, list: { type: 'boolean' } },
});
if (options.list) {
  for (const { name, about } of ATTACKS) console.log(`${name.padEnd(12)} ${about}`);
  process.exit(0);
}
const binary = resolve(positionals[0] ?? 'target/release/stockroom');
const chosen = ATTACKS.filter(({ name }) => !options.only || options.only.split(',').includes(name));
if (!existsSync(binary) || !chosen.length) {
  const names = ATTACKS.map(({ name }) => name).join(', ');
  console.error(`usage: attack.mjs path/to/stockroom [--only name]\nattacks: ${names}`);
  process.exit(2);
}

if (!isFirst) console.log("without the real-time class the latencies are the scheduler's, too, and are not judged");

process.on('exit', () => {
  dismissAll();
  killAll();
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));
setTimeout(() => {
  console.error('the run took too long');
  process.exit(1);
}, LONGEST_RUN_MS).unref();

/** Has an attack done, and tells what was seen of it. */
async function attackOnce(attack, server, by) {
  by.send({ attack: attack.run, port: server.port, pid: server.pid, ms: attack.busy });
  const tooLong = sleep(LONGEST_ATTACK_MS).then(() => Promise.reject(new Error('it took too long')));
  const failed = (why) => ({ seen: why, checks: [['the attack comes to its end', false, why]] });
  return Promise.race([hear(by), tooLong]).catch((error) => failed(error.message));
}

/** The longest stall that the server's own heartbeat saw since `before`, if it has one. */
function longestStall(before, after) {
  const name = 'stockroom_runtime_stall_seconds';
  const figures = [...(after ?? [])].filter(([key]) => key.startsWith(name));
  const gauge = figures.find(([key]) => key === name || key.includes('max'));
  if (gauge) return `${(gauge[1] * 1000).toFixed(1)} ms at most`;
  const bounds = figures
    .filter(([key]) => key.startsWith(`${name}_bucket`))
    .map(([key, count]) => [/le="([^"]+)"/.exec(key)[1], count - (before?.get(key) ?? 0)]);
  const total = Math.max(0, ...bounds.map(([, count]) => count));
  const longest = bounds.find(([, count]) => count === total);
  if (longest && total) return `${total} beats, none later than ${longest[0]} s`;
  return figures.map(([key, value]) => `${key} ${value}`).join(', ');
}

const report = (word, text) => console.log(`  ${word.padEnd(9)} ${text}`);

/** Runs one attack, with its quiet times; tells how many of its checks failed. */
async function run(attack, server) {
  const [quiet, busy] = [[], []];
  const results = [];
  const metrics = await server.metrics();
  // The honest client alone costs memory, too: what the first quiet time needs is where the growth begins.
  let before = memory(server.pid);
  let most = before;
  const watch = setInterval(() => (most = Math.max(most, memory(server.pid))), 50);
  for (let round = 0; round < attack.rounds && server.alive; round++) {
    const by = await attacker();
    if (!attack.own) {
      quiet.push(await asked(server, sleep(attack.quiet)));
      if (round === 0) before = most;
    }
    const attacked = attackOnce(attack, server, by);
    if (!attack.own) busy.push(await asked(server, Promise.all([attacked, sleep(attack.busy)])));
    results.push(await attacked);
    await dismiss(by);
    await sleep(300);
  }
  clearInterval(watch);

  const checks = new Map();
  const check = (what, holds, instead = '') => {
    if (holds !== true || !checks.has(what)) checks.set(what, { holds: holds === true, instead });
  };
  results.forEach((result) => result.checks.forEach((one) => check(...one)));
  if (!attack.ends) {
    const page = await server.get('/livez');
    check('the server is the same process and lives', server.alive && page?.status === 200, server.end ?? 'no answer');
    check(`it grew by less than ${attack.growth} MiB`, most - before < attack.growth);
  }
  if (!attack.own) compare(attack, quiet, busy, check);
  const [first, peak, last] = [before, most, memory(server.pid)].map((mib) => mib.toFixed(1));
  report('memory', `${first} MiB before, ${peak} at most, ${last} after`);
  const stall = longestStall(metrics, attack.ends ? undefined : await server.metrics());
  if (stall) report('stall', stall);
  results.forEach(({ seen }) => report('attacker', seen));
  for (const [what, { holds, instead }] of checks) {
    report(holds ? 'PASS' : 'FAIL', what);
    if (!holds && instead) instead.split('\n').forEach((line) => report('', `  ${line}`));
  }
  return [...checks.values()].filter(({ holds }) => !holds).length;
}

/** Has the honest client ask until something is over, and tells what it saw. */
async function asked(server, until) {
  server.honest.send('begin');
  await until;
  server.honest.send('end');
  return hear(server.honest);
}

/** Tells how the honest client fared. */
function compare(attack, quiet, busy, check) {
  const all = (samples, kind) => samples.flatMap((sample) => sample[kind]);
  const ratio = (name, kind, part) => {
    const [calm, stormy] = [quiet, busy].map((samples) => samples.map((sample) => percentile(sample[kind], part)));
    const ratios = stormy.map((ms, round) => ms / calm[round]);
    const times = percentile(ratios, 0.5);
    const [before, during] = [calm, stormy].map((ms) => percentile(ms, 0.5).toFixed(2));
    const each = ratios.length > 1 ? ` of ${ratios.map((one) => one.toFixed(2)).join(' ')}` : '';
    report('honest', `${name} ${before} -> ${during} ms: x${times.toFixed(2)}${times > DEFAULTS.longer ? ' !' : ''}${each}`);
    return times;
  };
  ratio('p50', 'all', 0.5);
  const p99 = ratio('p99', 'all', 0.99);
  ratio('p95 of new connections', 'fresh', 0.95);
  if (isFirst) check(`the p99 is at most ${attack.longer} times as long`, p99 <= attack.longer, p99.toFixed(2));
  const failures = busy.flatMap((sample) => [...sample.failures].map(([why, count]) => `${why}: ${count}`));
  check('every honest request is answered', failures.length === 0, failures.join(', '));
  if (attack.fresh) {
    const p99 = percentile(all(busy, 'fresh'), 0.99);
    check(`a new honest connection is answered within ${attack.fresh} ms`, p99 <= attack.fresh, `${p99.toFixed(0)} ms`);
  }
}

/** Starts a server, and has it asked until caches, threads and the honest client are warm. */
async function started(limits) {
  const server = await Server.start(binary, limits);
  if (limits) return server;
  server.honest = await honestClient(server.port);
  await asked(server, sleep(3000));
  return server;
}

/** Ends a server and its honest client. */
async function ended(server) {
  if (server.honest) await dismiss(server.honest);
  await server.stop();
}

let failed = 0;
let shared;
for (const chosenOne of chosen) {
  const attack = { ...DEFAULTS, ...(chosenOne.own && { rounds: 1 }), ...chosenOne };
  console.log(`${attack.name}: ${attack.about}`);
  // One that was killed is replaced, so that the others have something to attack.
  if (shared && !shared.alive) await ended(shared);
  const server = attack.own ? await started(attack.own) : (shared = shared?.alive ? shared : await started());
  failed += await run(attack, server);
  if (attack.own) await ended(server);
}
if (shared) await ended(shared);
console.log(failed ? `${failed} checks failed` : 'all checks passed');
process.exit(failed ? 1 : 0);
