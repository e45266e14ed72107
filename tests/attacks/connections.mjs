// Attacks that hold connections. Each gets the server's port and process, and tells what it saw and what it checked:
// `checks` are of the form [what must hold, whether it does].

import { performance } from 'node:perf_hooks';

import { cpuSeconds, heldConnections, openFiles, runs } from './proc.mjs';
import { allClosedBy, dial, dialMany, document, fates, head, post, sleep, trickle } from './wire.mjs';

const MAX_CONNECTIONS = 1024;

/** Headers, one byte a second. */
export async function slowloris({ port }) {
  const connections = await dialMany(500, () => dial(port, 'POST /graphql HTTP/1.1\r\nhost: localhost\r\nx-slow: '));
  await trickle(connections, 'a', 7000);
  return { seen: fates(connections), checks: [['all are closed within 6 s', allClosedBy(connections, 6000)]] };
}

/** Connections that say nothing. */
export async function silent({ port, pid }) {
  const before = openFiles(pid);
  let most = 0;
  const watch = setInterval(() => (most = Math.max(most, openFiles(pid) - before)), 200);
  const connections = await dialMany(2000, () => dial(port));
  await trickle(connections, '', 7000);
  clearInterval(watch);
  return {
    seen: `${fates(connections)}; at most ${most} open in the server`,
    checks: [
      ['all are closed within 6 s', allClosedBy(connections, 6000)],
      [`the server holds no more than ${MAX_CONNECTIONS}`, most <= MAX_CONNECTIONS + 16],
    ],
  };
}

/** No attack: what as many clients, who ask something small at once, cost an honest one. */
export async function visitors({ port }) {
  const body = document('{ __typename }');
  const question = head({ 'content-length': Buffer.byteLength(body), connection: 'close' }) + body;
  const connections = await dialMany(2000, () => dial(port, question));
  await trickle(connections, '', 7000);
  return {
    seen: fates(connections),
    checks: [['all are answered', connections.every(({ status }) => status === 200)]],
  };
}

/** Bodies, one byte a second. */
export async function slowBody({ port }) {
  const connections = await dialMany(500, () => dial(port, head({ 'content-length': 1000 }) + '{'));
  await trickle(connections, ' ', 11_500);
  return {
    seen: fates(connections),
    checks: [
      ['all are closed within 11.5 s', allClosedBy(connections, 11_500)],
      ['all are told 408', connections.every(({ status }) => status === 408)],
    ],
  };
}

const FIELDS = [
  `id sku slug name description status tags rating version createdAt updatedAt externalReference
   price { amount currency } compareAtPrice { amount currency } stock { available state }
   attributes { key value } media { url alt } category { id name slug path }`,
  'id sku slug name description status tags price { amount currency } stock { available } updatedAt',
];

/**
 * Requests for the largest answer that the server gives to one for 100 products. No two are the same, so that no answer is
 * of use for another.
 */
async function largeQuestions(port) {
  let asked = 0;
  for (const fields of FIELDS) {
    const next = () => document(`{ a${asked++}: products(first: 100) { nodes { ${fields} } } }`);
    const answer = await post(port, undefined, next());
    if (answer.status === 200 && !answer.errors) return { next, size: answer.text.length };
  }
  throw new Error('no large question is answered');
}

/** Many of them, one behind the other. */
function pipelined(next, times) {
  const bodies = Array.from({ length: times }, next);
  return bodies.map((body) => head({ 'content-length': Buffer.byteLength(body) }) + body).join('');
}

/** Large answers that nobody reads. The kernel's table shows what the server let go, for these clients do not look. */
export async function slowReader({ port }) {
  const { next, size } = await largeQuestions(port);
  const connections = await dialMany(200, () => dial(port, pipelined(next, 20), { reads: false }));
  const begun = performance.now();
  const closed = [];
  let open = connections;
  while (open.length && performance.now() - begun < 44_000) {
    await sleep(250);
    const held = heldConnections(port);
    // One that the server has not accepted yet is not held, either.
    open.filter(({ localPort }) => held.has(localPort)).forEach((connection) => (connection.accepted = true));
    const still = open.filter(({ localPort, accepted }) => !accepted || held.has(localPort));
    closed.push(...Array(open.length - still.length).fill((performance.now() - begun) / 1000));
    open = still;
  }
  const when = closed.length ? ` after ${closed[0].toFixed(1)} to ${closed.at(-1).toFixed(1)} s` : '';
  return {
    seen: `20 answers of ${size} bytes each; ${closed.length} of 200 let go${when}`,
    checks: [
      ['the answers are large', size > 20_000],
      ['the server lets go of all within 44 s', open.length === 0],
    ],
  };
}

/** More connections than the server may have files. It has a server of its own, which may have 256. */
export async function files({ port, pid }) {
  const query = document('{ products(first: 1) { nodes { id } } }');
  await post(port, undefined, query);
  const connections = await dialMany(400, () => dial(port));
  await sleep(500);
  const [open, before, begun] = [openFiles(pid), cpuSeconds(pid), performance.now()];
  await sleep(3000);
  const cpu = ((cpuSeconds(pid) - before) / (performance.now() - begun)) * 1000 * 100;
  connections.forEach(({ socket }) => socket.destroy());
  const released = performance.now();
  let answered;
  while (answered === undefined && performance.now() - released < 5000) {
    const answer = await Promise.race([post(port, undefined, query), sleep(1000)]);
    if (answer?.status === 200 && !answer.errors) answered = performance.now() - released;
    else await sleep(20);
  }
  const resumed = answered === undefined ? 'nothing is answered afterwards' : `answers ${answered.toFixed(0)} ms after`;
  return {
    seen: `${open} files open in the server, ${cpu.toFixed(1)} % of a CPU while full; ${resumed} the release`,
    checks: [
      ['the server has many files open', open >= 128],
      ['it answers within 2 s of the release', answered <= 2000],
      ['it uses less than 10 % of a CPU while full', cpu < 10],
    ],
  };
}

/** SIGTERM under load, with slow clients. It has a server of its own. */
export async function stop({ port, pid }) {
  const { next } = await largeQuestions(port);
  for (let i = 0; i < 5; i++) {
    dial(port);
    dial(port, 'POST /graphql HTTP/1.1\r\nhost: localhost\r\nx-slow: ');
    dial(port, head({ 'content-length': 1000 }) + '{');
    dial(port, pipelined(next, 20), { reads: false });
  }
  await sleep(500);

  let stopped = false;
  const under = new Set();
  const late = { answered: 0, refused: 0 };
  const ask = async (text) => {
    const request = { at: performance.now() };
    under.add(request);
    const answer = await post(port, undefined, text);
    request.status = answer.status;
    if (!stopped) under.delete(request);
    else if (!request.before) late[answer.status ? 'answered' : 'refused']++;
  };
  const search = async (worker) => {
    for (let i = 0; !stopped; i++) {
      await ask(document(`{ products(first: 50, search: "lamp ${worker} ${i}") { totalCount nodes { name } } }`));
    }
  };
  const login = (i) =>
    `mutation { login(input: { email: "nobody${i}@stockroom.test", password: "not the one" }) { user { id } } }`;
  const searches = Array.from({ length: 20 }, (_, worker) => search(worker));
  await sleep(1000);
  // Passwords take their time, so these are still under way.
  const logins = Array.from({ length: 10 }, (_, i) => ask(document(login(i))));
  await sleep(60);
  stopped = true;
  const begun = performance.now();
  // What was sent a moment ago may not have arrived, and so is not counted.
  const before = [...under].filter((request) => request.at < begun - 30);
  before.forEach((request) => (request.before = true));
  process.kill(pid, 'SIGTERM');
  while (runs(pid) && performance.now() - begun < 22_000) await sleep(50);
  const seconds = (performance.now() - begun) / 1000;
  await Promise.race([Promise.all([...searches, ...logins]), sleep(1000)]);

  const answered = before.filter(({ status }) => status >= 200 && status < 500).length;
  const others = `of those sent at the last moment ${late.answered} answered, ${late.refused} refused`;
  return {
    seen: `${answered} of ${before.length} requests under way answered; ${others}; ended after ${seconds.toFixed(1)} s`,
    checks: [
      ['some requests were under way', before.length > 0],
      ['each request under way is answered', answered === before.length],
      ['the server ends within 20 s', !runs(pid) && seconds <= 20],
    ],
  };
}
