// Three instances under load while something happens to them, to PostgreSQL, to Redis, or to the ways between, and what
// their clients see of it.
//
//   node tests/faults/faults.mjs path/to/stockroom [--only=name,...] [--list] [--seed=N] [--minutes=N]
//
// Brings a PostgreSQL and a Redis of its own, on loopback. Each scenario has a line; with `--minutes` random ones follow one
// another, often two at once, for so long, with a line for each minute. What must not be is told, and makes the exit code
// 1. Chance is the seed's: the same one strikes in the same order, though processes do not answer in the same order.

import { randomInt } from 'node:crypto';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import { percentile } from '../attacks/load.mjs';
import { killAll } from '../attacks/server.mjs';
import { audit } from './audit.mjs';
import { Checker, checkChecker } from './checker.mjs';
import { oneOf, seeded } from './dice.mjs';
import { Load } from './load.mjs';
import { RECOVERY, SCENARIOS, redisIsUsed } from './scenarios.mjs';
import { endAll, until } from './stores.mjs';
import { World } from './world.mjs';

/** How many times as long as promised something may take where others use the machine, too. */
const PATIENCE = 3;
/** The most memory of an instance, in MiB. */
const MEMORY = 256;
/** Longest time that a connection may be in use when nobody asks. */
const KEPT_MS = 10_000;
/** Longest time that instances may still send some away when all is well again: who came before is served before. */
const SETTLED_MS = 1000;
const SECONDS = 3;
/** Readers for as long as one thing after another happens. */
const READERS = 20;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string' }, list: { type: 'boolean' }, seed: { type: 'string' }, minutes: { type: 'string' },
  },
});
const RANDOM = { name: 'random', promise: 'any of these, often two at once, one after another' };
if (options.list) {
  for (const { name, promise } of [...SCENARIOS, RANDOM]) console.log(`${name.padEnd(22)} ${promise}`);
  process.exit(0);
}
const binary = resolve(positionals[0] ?? 'target/release/stockroom');
const names = options.only?.split(',') ?? SCENARIOS.filter(({ measures }) => !measures).map(({ name }) => name);
if (options.minutes && !names.includes(RANDOM.name)) names.push(RANDOM.name);
const unknown = names.find((name) => ![...SCENARIOS, RANDOM].some((scenario) => scenario.name === name));
if (!existsSync(binary) || unknown) {
  console.error('usage: faults.mjs path/to/stockroom [--only=name,...] [--list] [--seed=N] [--minutes=N]');
  if (unknown) console.error(`there is no ${unknown}; --list names all`);
  process.exit(2);
}

process.on('exit', () => {
  killAll();
  endAll();
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

const unfit = checkChecker();
if (unfit.length) {
  console.error(`the checker is not to be believed:\n${unfit.join('\n')}`);
  process.exit(1);
}
const seed = Number(options.seed ?? randomInt(2 ** 31));
console.log(`seed ${seed}`);
const dice = seeded(seed);
const checker = new Checker();
const world = await World.start(binary, dice);
const load = new Load(world, checker, dice);
await load.prepare();
let [keyed, largest] = [load.writes, 0];
const watch = setInterval(() => (largest = Math.max(largest, world.sizes().largest)), 250);

/** Has something happen for so many seconds, and waits until all is well again; tells how long that took. */
async function happens(scenario, context, seconds) {
  const { strike, again, every, heal, of } = scenario;
  await strike?.(context);
  const end = performance.now() + seconds * 1000;
  while (again && performance.now() < end) {
    await again(context);
    await sleep(every);
  }
  await sleep(Math.max(0, end - performance.now()));
  await heal?.(context);
  const redis = of === 'redis' ? await redisIsUsed(context) : 0;
  const all = scenario.lasts ? 0 : await load.recovered();
  return context.recovery ?? (of === 'redis' ? redis : all);
}

/** Looks, when nobody asks any more, whether all is as acknowledged, and no connection is kept. */
async function audited() {
  await audit(world, checker, keyed);
  const isIdle = async () => (await world.inUse()) === 0;
  await until('no connection is in use', isIdle, KEPT_MS).catch(async ({ message }) => {
    checker.tells(`${message}: ${await world.inUse()} are`);
  });
}

/** All failures by their kind. */
function counted(failures) {
  const kinds = new Map();
  for (const { what, kind } of failures) kinds.set(`${what} ${kind}`, (kinds.get(`${what} ${kind}`) ?? 0) + 1);
  return [...kinds].map(([kind, count]) => `${kind}: ${count}`).join(', ');
}

/** Tells failures of which nothing is the reason any more; gives how long after all was well some were sent away. */
function tellStray(after, begun, calm) {
  const isShed = ({ kind, sent }) => kind === 'BUSY' && sent > calm && sent - calm < SETTLED_MS * PATIENCE;
  const late = load.failures.filter(({ sent, ms }) => sent > calm || sent + ms < begun);
  const stray = late.filter((failure) => !isShed(failure));
  if (stray.length) checker.tells(`after ${after} failures when nothing was wrong: ${counted(stray)}`);
  return Math.max(0, ...late.filter(isShed).map(({ sent, ms }) => sent + ms - calm));
}

function judge(scenario, context, { struck, well, recovery, reads }) {
  const { name, spares = () => false, lasts, told, unread, of, within = RECOVERY[of] } = scenario;
  const { failures } = load;
  const broken = failures.filter((failure) => !spares(failure, context));
  if (broken.length) checker.tells(`failures that should not be: ${counted(broken)}`);
  const calm = lasts ? Infinity : Math.max(well, struck + (scenario.within ?? 0));
  const settled = tellStray(name, struck, calm);
  if (of && recovery > within * PATIENCE) checker.tells(`it took ${Math.round(recovery)} ms until all was well, not ${within}`);
  const unwritten = failures.filter(({ what, sent }) => what === 'write' && sent > struck + 200);
  const late = percentile(unwritten.map(({ ms }) => ms), 0.95);
  if (told && late > told * PATIENCE) checker.tells(`writes were told in ${Math.round(late)} ms, not ${told}`);
  const missed = failures.filter(({ what }) => what === 'read').length;
  if (unread && missed > unread * (reads + missed)) checker.tells(`${missed} of ${reads + missed} reads failed`);
  const untilTold = told && `writes told in ${Math.round(late)} ms`;
  return [context.seen, untilTold, settled && `busy for ${Math.round(settled)} ms more`];
}

/** Tells what is new of what must not be. */
function tell() {
  for (const violation of checker.violations.splice(0)) console.log(`  VIOLATION ${violation}`);
}

/** Runs one scenario under load, and tells what was seen. */
async function one(scenario) {
  if (scenario.can === false) return console.log(`${scenario.name.padEnd(22)} skipped: this machine does not let us`);
  const [context, readsBefore] = [{ world, load, dice, checker }, checker.reads];
  load.during = scenario.name;
  load.begin();
  await sleep(700);
  const struck = performance.now();
  const recovery = await happens(scenario, context, scenario.seconds ?? SECONDS);
  const well = performance.now();
  await sleep(500);
  await load.end();
  keyed += load.writes;
  const reads = checker.reads - readsBefore;
  const seen = judge(scenario, context, { struck, well, recovery, reads });
  await audited();
  const { of, within = RECOVERY[of] } = scenario;
  const late = recovery > within ? ' !' : '';
  const figures = [
    `${reads} reads`, `slowest ${Math.round(load.slowestRead)} ms`, `${load.writes} writes`,
    load.refused && `${load.refused} too late`,
    of && `well in ${Math.round(recovery)} ms${late}`, ...seen, counted(load.failures),
  ];
  console.log(`${scenario.name.padEnd(22)} ${figures.filter(Boolean).join('; ')}`);
  return tell();
}

/** Scenarios that need the stage for themselves. */
const APART = ['nothing', 'commits-lost', 'disk-full'];

/** Has one thing after another happen for so many minutes, sometimes two at once. */
async function random(minutes) {
  const fit = SCENARIOS.filter(({ name, lasts, measures, can = true }) => {
    return can && !lasts && !measures && !APART.includes(name);
  });
  const [began, first] = [performance.now(), checker.reads];
  const worst = new Map();
  let [happened, minute, calm, settled, before] = [0, 1, 0, 0, { reads: first, writes: 0 }];
  load.begin({ readers: READERS });
  while (performance.now() - began < minutes * 60_000) {
    const scenario = oneOf(dice, fit);
    const other = oneOf(dice, fit.filter(({ of, name }) => of !== scenario.of && name !== 'machine-busy'));
    const both = dice(3) === 0 && scenario.of !== 'instance' && other.of !== 'instance' ? [scenario, other] : [scenario];
    const seconds = 0.2 + dice(options.minutes ? 60 : 25) / 10;
    const contexts = both.map(() => ({ world, load, dice, checker }));
    load.during = both.map(({ name }) => name).join();
    const struck = performance.now();
    await Promise.all(both.map((it, number) => happens(it, contexts[number], seconds).then((took) => {
      // Where two things happen, one does not recover before the other is over.
      if (both.length > 1 || !it.of) return;
      const what = it.within ? it.name : it.of;
      worst.set(what, Math.max(worst.get(what) ?? 0, took));
      const within = it.within ?? RECOVERY[it.of];
      if (took > within * PATIENCE) checker.tells(`after ${it.name} it took ${Math.round(took)} ms until all was well`);
    })));
    calm = Math.max(calm, performance.now(), ...both.map(({ within = 0 }) => struck + within));
    happened += both.length;
    await sleep(300 + dice(1000));
    settled = Math.max(settled, tellStray(both.map(({ name }) => name), -Infinity, calm));
    const elapsed = (performance.now() - began) / 60_000;
    if (elapsed < minute && elapsed < minutes) continue;
    const { files, largest: now } = world.sizes();
    const kinds = counted(load.failures.splice(0));
    const figures = [
      `${checker.reads - before.reads} reads`, `${load.writes - before.writes} writes`, `${happened} faults`,
      `${Math.round(now)} MiB`, `${files} files`, ...[...worst].map(([what, ms]) => `${what} well in ${Math.round(ms)} ms`),
      settled && `busy for ${Math.round(settled)} ms more`, kinds,
    ];
    console.log(`${`random ${Math.round(elapsed * 10) / 10} min`.padEnd(22)} ${figures.filter(Boolean).join('; ')}`);
    tell();
    before = { reads: checker.reads, writes: load.writes };
    minute = Math.floor(elapsed) + 1;
  }
  await load.end();
  keyed += load.writes;
  await audited();
  tell();
}

try {
  for (const scenario of SCENARIOS) if (names.includes(scenario.name)) await one(scenario);
  if (names.includes(RANDOM.name)) await random(Number(options.minutes ?? 1));
  if (largest > MEMORY) checker.tells(`an instance took ${Math.round(largest)} MiB, more than ${MEMORY}`);
} catch (error) {
  checker.tells(error.stack);
}
clearInterval(watch);
tell();
const all = `${checker.reads} reads and ${keyed} writes, ${Math.round(largest)} MiB at most`;
console.log(checker.violated ? `${checker.violated} violations (seed ${seed}); ${all}` : `all as promised: ${all}`);
if (!checker.violated) await world.end();
process.exit(checker.violated ? 1 : 0);
