// Clients by the hundred, who all ask for what nobody asked for yet: a process of its own, that takes turns with nobody.
//
//   node askers.mjs port,port,...
//
// Told `{ width, ms }` so many at once ask as fast as they are answered, told `{ rate, ms }` so many ask in each second,
// whatever the answers do. Tells how often there was which answer, and how many could not be asked.

import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

import { document } from '../attacks/wire.mjs';
import { Line } from './line.mjs';

/** Connections to each instance, at most. */
const MOST = 900;
/** Longest wait for an answer. */
const PATIENCE_MS = 2000;
/** Milliseconds from one look at the clock to the next. */
const TICK_MS = 5;
const LIST = `query($least: Int!) { products(first: 20, filter: { stock: { gte: $least } }, sortBy: [{ field: NAME }]) {
  totalCount nodes { id name stock { available } } } }`;

const ports = process.argv[2].split(',').map(Number);
const free = ports.map(() => []);
const opened = ports.map(() => 0);
let [asked, answers] = [0, new Map()];

const count = (answer) => answers.set(answer, (answers.get(answer) ?? 0) + 1);

/** Asks the next instance, if there is a connection to it. */
async function ask() {
  const instance = asked++ % ports.length;
  const line = free[instance].pop() ?? (opened[instance]++ < MOST ? new Line(ports[instance]) : undefined);
  if (!line) return count('no connection');
  const { status, text } = await line.ask(document(LIST, { least: -asked }), {}, PATIENCE_MS);
  free[instance].push(line);
  return count(status === 200 && !text.includes('"errors"') ? 'served' : /"code":"(\w+)"/.exec(text)?.[1] ?? text);
}

async function asFastAsAnswered(width, end) {
  const one = async () => {
    while (performance.now() < end) await ask();
  };
  await Promise.all(Array.from({ length: width }, one));
}

async function atRate(rate, end) {
  const [begun, sent] = [performance.now(), []];
  for (; performance.now() < end; await sleep(TICK_MS)) {
    while (sent.length < ((performance.now() - begun) / 1000) * rate) sent.push(ask());
  }
  await Promise.all(sent);
}

process.on('message', async ({ width, rate, ms }) => {
  answers = new Map();
  const [begun, end] = [performance.now(), performance.now() + ms];
  await (rate ? atRate(rate, end) : asFastAsAnswered(width, end));
  process.send({ seconds: (performance.now() - begun) / 1000, answers });
});
process.on('disconnect', () => process.exit());
process.send('ready');
