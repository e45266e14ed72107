// What attackers send with: whole requests by HTTP, and connections of which every byte is chosen.

import http from 'node:http';
import net from 'node:net';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

export { sleep };

const HEADERS = { 'content-type': 'application/json', accept: 'application/graphql-response+json' };

export const document = (query, variables) => JSON.stringify({ query, variables });

/** The bytes of a request's head. */
export const head = (headers) =>
  ['POST /graphql HTTP/1.1', 'host: localhost', ...Object.entries({ ...HEADERS, ...headers }).map((h) => h.join(': '))]
    .join('\r\n')
    .concat('\r\n\r\n');

/** Sends one body; status 0 is a connection that broke. `options` are those of Node.js. */
export function post(port, agent, body, headers = {}, again = true, options = {}) {
  const started = performance.now();
  return new Promise((resolve) => {
    const done = (status, text) => {
      let errors = [];
      try {
        errors = JSON.parse(text).errors ?? [];
      } catch {
        // No JSON, no errors.
      }
      const [first] = errors;
      const code = first?.extensions?.code ?? '';
      resolve({ status, code, errors: errors.length, text, ms: performance.now() - started });
    };
    const request = http.request(
      {
        host: '127.0.0.1',
        port,
        path: '/graphql',
        method: 'POST',
        agent,
        headers: { ...HEADERS, 'content-length': Buffer.byteLength(body), ...headers },
        ...options,
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (more) => (text += more));
        response.on('end', () => done(response.statusCode, text)).on('error', () => done(0, ''));
      },
    );
    request.on('error', (error) => {
      // A kept connection may close just as it is used again.
      if (again && request.reusedSocket) resolve(post(port, false, body, headers, false));
      else done(0, error.code);
    });
    request.end(body);
  });
}

/**
 * Sends the cases one after another for `ms`: `width` at a time, each of which sends one every `pace` ms. A case has
 * `name`, `send(port, agent)` and `right(answer)`. Tells how often which answer came, the times, and what came instead of
 * what should.
 */
export async function hammer({ port, ms, width, pace }, cases) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: width });
  const end = performance.now() + ms;
  const told = { answers: new Map(), times: [], wrong: new Map(), right: new Set(), worst: 0, slowest: '' };
  let next = 0;
  let over = false;
  const one = async () => {
    while (performance.now() < end) {
      const attack = cases[next++ % cases.length];
      const answer = await attack.send(port, agent);
      if (over) return;
      const kind = `${answer.status} ${answer.code}`.trim();
      told.answers.set(kind, (told.answers.get(kind) ?? 0) + 1);
      if (answer.ms > told.worst) {
        told.worst = answer.ms;
        told.slowest = attack.name;
      }
      told.times.push(answer.ms);
      if (attack.right(answer)) told.right.add(attack.name);
      else if (!told.wrong.has(attack.name)) told.wrong.set(attack.name, `${kind} ${answer.text.slice(0, 120)}`);
      // Nobody listens there: others may.
      if (answer.status === 0) await sleep(50);
      // What floods is the next one's patience, not this machine's two cores.
      if (pace > answer.ms) await sleep(pace - answer.ms);
    }
  };
  // What has no answer a while after the end is given up, and counts as none.
  await Promise.race([Promise.all(Array.from({ length: width }, one)), sleep(ms + 2000)]);
  over = true;
  agent.destroy();
  for (const { name } of cases) {
    if (!told.right.has(name) && !told.wrong.has(name)) told.wrong.set(name, 'no answer');
  }
  return told;
}

/** A connection; `closed` is the milliseconds after which the server ended it, `status` what it said before. */
export function dial(port, first = '', { reads = true } = {}) {
  const socket = new net.Socket();
  const connection = { socket, closed: undefined, status: 0, sent: 0 };
  if (!reads) socket.pause();
  let opened = performance.now();
  const over = () => (connection.closed ??= performance.now() - opened);
  connection.done = new Promise((resolve) => socket.on('close', resolve));
  socket.on('connect', () => {
    opened = performance.now();
    connection.localPort = socket.localPort;
  });
  if (reads) {
    socket.on('data', (bytes) => {
      connection.status ||= Number(/^HTTP\/1\.[01] (\d+)/.exec(bytes.toString('latin1'))?.[1] ?? 0);
    });
  }
  socket.on('end', over).on('error', over).on('close', over);
  socket.connect({ host: '127.0.0.1', port });
  if (first) socket.write(first);
  return connection;
}

/** Opens many connections, a few hundred in each tenth of a second. */
export async function dialMany(count, open) {
  const connections = [];
  while (connections.length < count) {
    for (let i = 0; i < 200 && connections.length < count; i++) connections.push(open());
    await sleep(100);
  }
  return connections;
}

/** Sends one byte a second on each connection until the server has closed them all, or `ms` have passed. */
export async function trickle(connections, byte, ms) {
  const end = performance.now() + ms;
  for (let tick = 0; performance.now() < end && connections.some((c) => c.closed === undefined); tick++) {
    for (let i = tick % 10; i < connections.length; i += 10) {
      if (byte && connections[i].closed === undefined && !connections[i].socket.connecting) {
        connections[i].socket.write(byte);
      }
    }
    await sleep(100);
  }
}

/** In words: how many were closed, when, and with what status. */
export function fates(connections) {
  const times = connections.map((c) => c.closed).filter((ms) => ms !== undefined);
  const statuses = new Map();
  for (const { status } of connections) statuses.set(status, (statuses.get(status) ?? 0) + 1);
  const [least, most] = [Math.min(...times), Math.max(...times)].map((ms) => (ms / 1000).toFixed(1));
  const when = times.length ? ` after ${least} to ${most} s` : '';
  const said = [...statuses].map(([status, count]) => `${status || 'no status'}: ${count}`).join(', ');
  return `${times.length} of ${connections.length} closed${when}; ${said}`;
}

export const allClosedBy = (connections, ms) => connections.every((c) => c.closed !== undefined && c.closed <= ms);
