// Whether anybody can tell by the clock if an address has an account.
//
//   node tests/attacks/timing.mjs path/to/stockroom [--count 2000]
//
// Asks the same of addresses that have an account and of those that have none, one at a time and in no order, so that
// whatever else the machine does meets both; takes about three minutes. Fails if the medians differ by more than 2 ms, or
// by more than 5 % where that is a quarter of a millisecond, if the times are not of one distribution (Mann-Whitney, p below
// 0.01), or if the answers differ in anything but the time to wait.

import http from 'node:http';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

import { percentile } from './load.mjs';
import { Server, killAll } from './server.mjs';
import { document, post, sleep } from './wire.mjs';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { count: { type: 'string', default: '2000' } },
});
const binary = resolve(positionals[0] ?? 'target/release/stockroom');
const count = Number(options.count);
/** Attempts that each address, here of an account, is good for where attempts are limited. */
const ATTEMPTS = 5;

process.on('exit', killAll);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

const ERRORS = 'errors { __typename ... on UserError { code message path } }';
const login = (email) =>
  document(`mutation($email: String!) { login(input: { email: $email, password: "wrong horse" }) {
    user { id } tokens { accessToken } ${ERRORS} } }`, { email });
const reset = (email) =>
  document(`mutation($email: String!) { requestPasswordReset(email: $email) { accepted ${ERRORS} } }`, { email });

const KNOWN = 'staff@stockroom.test';
let number = 0;
const unknown = () => `staff${number++}@stockroom.test`;

const OFF = { LOGIN_LIMIT: 'off', LOGIN_ADDRESS_LIMIT: 'off', MAIL_LIMIT: 'off', RATE_LIMIT: 'off' };
const QUESTIONS = [
  { name: 'a wrong password', ask: login, env: OFF },
  // What is done behind the answer is to meet nobody's next question.
  { name: 'a link for a new password', ask: reset, env: OFF, pause: 25 },
  { name: 'a locked account', ask: login, env: { ...OFF, LOGIN_LIMIT: `${ATTEMPTS}/24h` }, locked: true },
];

/** How likely samples that differ so much are, or more, where both are of one distribution. */
function mannWhitney(one, other) {
  const all = [...one.map((ms) => ({ ms, first: true })), ...other.map((ms) => ({ ms, first: false }))];
  all.sort((a, b) => a.ms - b.ms);
  const ranks = all.reduce((sum, { first }, index) => sum + (first ? index + 1 : 0), 0);
  const [n, m] = [one.length, other.length];
  const z = (ranks - (n * (n + m + 1)) / 2) / Math.sqrt((n * m * (n + m + 1)) / 12);
  // The tail of the normal distribution, after Abramowitz and Stegun, 7.1.26.
  const x = Math.abs(z) / Math.SQRT2;
  const t = 1 / (1 + 0.3275911 * x);
  const tail = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return tail * Math.exp(-x * x);
}

let failed = 0;
for (const { name, ask, env, locked, pause } of QUESTIONS) {
  const server = await Server.start(binary, { env });
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const send = (email) => post(server.port, agent, ask(email));
  // An address that nobody has is as locked as one that somebody has.
  const nobody = unknown();
  if (locked) for (let i = 0; i < ATTEMPTS; i++) await Promise.all([send(KNOWN), send(nobody)]);
  for (let i = 0; i < 20; i++) {
    await send(i % 2 ? KNOWN : locked ? nobody : unknown());
    await sleep(pause ?? 0);
  }
  const times = { known: [], unknown: [] };
  const answers = new Set();
  // In no order at all: what one question leaves behind must meet either kind as often.
  for (let asked = 0; asked < 2 * count; asked++) {
    const left = { known: count - times.known.length, unknown: count - times.unknown.length };
    const kind = Math.random() * (left.known + left.unknown) < left.known ? 'known' : 'unknown';
    if (pause) await sleep(pause);
    const answer = await send(kind === 'known' ? KNOWN : locked ? nobody : unknown());
    times[kind].push(answer.ms);
    answers.add(`${answer.status} ${answer.text.replace(/\d+/g, 'n').replace(/"requestId":"[^"]*"/g, '')}`);
  }
  agent.destroy();
  await server.stop();
  const [known, other] = [times.known, times.unknown].map((sample) => percentile(sample, 0.5));
  const difference = Math.abs(known - other);
  const p = mannWhitney(times.known, times.unknown);
  const alike = answers.size === 1 && difference <= Math.min(2, Math.max(0.25, 0.05 * other)) && p > 0.01;
  const told = `${known.toFixed(3)} ms known, ${other.toFixed(3)} ms unknown, p = ${p.toFixed(3)}, ${answers.size} answers`;
  console.log(`${alike ? 'PASS' : 'FAIL'}  ${name}: ${told}, ${count} each`);
  if (answers.size > 1) for (const answer of answers) console.log(`      ${answer}`);
  failed += alike ? 0 : 1;
}
process.exit(failed ? 1 : 0);
