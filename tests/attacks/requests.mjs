// Attacks that are whole requests. Each gets the server's port and the time it has, and tells what it saw and what it
// checked: `checks` are of the form [what must hold, whether it does, what was there instead].

import { createHash, randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { performance } from 'node:perf_hooks';

import { dial, document, hammer, head, post, sleep } from './wire.mjs';

const BODY_LIMIT = 262_144;
const DOCUMENT_LIMIT = 16 * 1024;
const TOO_LARGE = ['QUERY_TOO_DEEP', 'QUERY_TOO_LARGE'];

const refused = ({ status }) => status === 400;
const clientError = ({ status }) => status >= 400 && status < 500;

/** A case whose body is always the same. */
const of = (name, body, right = refused, headers) => ({
  name,
  right,
  send: (port, agent) => post(port, agent, body, headers),
});

async function attack(context, cases, must, width = 20) {
  const { ms, pace = 100 } = context;
  const told = await hammer({ ...context, width, pace }, cases);
  const meant = pace ? (ms / pace) * width : 0;
  const times = told.times.sort((a, b) => a - b);
  const answers = [...told.answers].sort((a, b) => b[1] - a[1]).map(([kind, count]) => `${kind}: ${count}`);
  const median = times[times.length >> 1]?.toFixed(1);
  const wrong = [...told.wrong].slice(0, 4).map(([name, what]) => `${name}: ${what}`);
  if (told.wrong.size > wrong.length) wrong.push(`and ${told.wrong.size - wrong.length} more`);
  return {
    seen: `${answers.join(', ')}; median ${median} ms, longest ${told.worst.toFixed(1)} ms (${told.slowest})`,
    checks: [
      [must, told.wrong.size === 0, wrong.join('\n')],
      // Who attacks less than is said makes no honest figure.
      ['it keeps three quarters of its pace', times.length >= meant * 0.75, `${times.length} of ${meant}`],
    ],
    told,
  };
}

/** No attack: what as many requests, of the sizes that attacks have, cost an honest client when all is in order. */
export function harmless(context) {
  const right = ({ status }) => status === 200;
  const sized = (bytes) => JSON.stringify({ query: '{ __typename }', variables: { text: 'x'.repeat(bytes) } });
  const cases = [0, 1000, 10_000, 30_000, 60_000, 120_000, 240_000].map((bytes) => of(`${bytes} bytes`, sized(bytes), right));
  return attack(context, cases, 'all are answered');
}

/** Values, one in the other, 33 to 100,000 deep. */
export function deep(context) {
  const shapes = {
    list: (depth) => '['.repeat(depth) + ']'.repeat(depth),
    object: (depth) => '{a:'.repeat(depth) + '1' + '}'.repeat(depth),
    mixed: (depth) => '[{a:'.repeat(depth / 2) + '1' + '}]'.repeat(depth / 2),
  };
  const places = {
    argument: (value) => `{ products(filter: ${value}) { totalCount } }`,
    'unknown field': (value) => `{ nothing(x: ${value}) }`,
    directive: (value) => `{ __typename @include(if: ${value}) }`,
    'unknown directive': (value) => `query @nothing(x: ${value}) { __typename }`,
    default: (value) => `query($v: JSON = ${value}) { __typename }`,
  };
  const cases = [];
  for (const depth of [34, 64, 200, 1000, 4000, 10_000, 30_000, 60_000, 100_000]) {
    for (const [shape, value] of Object.entries(shapes)) {
      // Those that are larger than a body may be are another attack.
      if (value(depth).length > BODY_LIMIT - 200) continue;
      for (const [place, put] of Object.entries(places)) {
        const right = (answer) => refused(answer) && TOO_LARGE.includes(answer.code);
        cases.push(of(`${shape} ${depth} deep in ${place}`, document(put(value(depth))), right));
      }
    }
  }
  cases.push(of('list 33 deep in argument', document(places.argument(shapes.list(33)))));
  for (const depth of [40, 1000, 10_000, 50_000]) {
    cases.push(of(`fields ${depth} deep`, document('{a'.repeat(depth) + '}'.repeat(depth))));
    cases.push(of(`inline fragments ${depth} deep`, document('{...'.repeat(depth) + '{a}' + '}'.repeat(depth))));
  }
  return attack(context, cases, 'all are refused with 400, values as too deep or too large');
}

/** Fragments that spread each other. */
export function fanOut(context) {
  const fragments = (count, spreads) => {
    const list = Array.from({ length: count }, (_, i) => {
      return `fragment f${i} on Query {${` ...f${i + 1}`.repeat(spreads)} }`;
    });
    return ['{ ...f0 }', ...list, `fragment f${count} on Query { __typename }`].join('\n');
  };
  const cycle = (length) => {
    const list = Array.from({ length }, (_, i) => `fragment f${i} on Query { ...f${(i + 1) % length} }`);
    return ['{ ...f0 }', ...list].join('\n');
  };
  const documents = {
    '2^30': fragments(30, 2),
    '4^12': fragments(12, 4),
    '100^50': fragments(50, 100),
    'a fragment in itself': cycle(1),
    'a cycle of 2': cycle(2),
    'a cycle of 40': cycle(40),
    'a cycle that nothing spreads': cycle(2).replace('...f0', '__typename'),
    'an unknown fragment': '{ ...nothing }',
    'an unused fragment': '{ __typename } fragment f on Query { __typename }',
  };
  const cases = Object.entries(documents).map(([name, query]) => of(name, document(query)));
  return attack(context, cases, 'all are refused with 400');
}

/** A body of 20 MB whose length is told: the refusal must come without the body. */
const announced = (port) => untilAnswered(port, { 'content-length': 20_000_000 }, [Buffer.alloc(1024, 32)]);

/** A body of 20 MB in chunks: the refusal must come soon after the limit. */
function chunked(port) {
  const chunk = Buffer.concat([Buffer.from('4000\r\n'), Buffer.alloc(0x4000, 32), Buffer.from('\r\n')]);
  return untilAnswered(port, { 'transfer-encoding': 'chunked' }, Array(Math.ceil(20_000_000 / 0x4000)).fill(chunk));
}

/** A body that is longer than bodies may be. */
const tooLong = (name, body) => {
  const bytes = Buffer.from(body);
  const pieces = Array.from({ length: Math.ceil(bytes.length / 0x4000) }, (_, i) =>
    bytes.subarray(i * 0x4000, (i + 1) * 0x4000),
  );
  const send = (port) => untilAnswered(port, { 'content-length': bytes.length }, pieces);
  return { name, send, right: ({ status }) => status === 413 };
};

/** Sends piece by piece until there is an answer, for which it then waits two seconds. */
async function untilAnswered(port, headers, pieces) {
  const started = performance.now();
  const connection = dial(port, head(headers));
  const over = () => connection.status || connection.closed !== undefined;
  for (const piece of pieces) {
    if (over()) break;
    connection.socket.write(piece);
    await sleep(2);
  }
  for (let waited = 0; waited < 2000 && !over(); waited += 5) await sleep(5);
  const { status, socket } = connection;
  const sent = socket.bytesWritten;
  socket.destroy();
  return { status, code: '', errors: 1, text: `after ${sent} bytes`, sent, ms: performance.now() - started };
}

/** Documents and bodies with too many things side by side. */
export function wide(context) {
  const many = (count, make) => Array.from({ length: count }, (_, i) => make(i)).join(' ');
  const padded = (text, length) => text + ' '.repeat(length - text.length);
  const question = document('{ __typename }');
  const few = ({ status, errors, text }) => status === 400 && errors <= 10 && text.length <= 8192;
  const cases = [
    of('10,000 aliases', document(`{ ${many(10_000, (i) => `a${i}: __typename`)} }`)),
    of('2,001 tokens', document(`{ me { ${many(1996, () => 'id')} } }`)),
    of('a document of 16 KiB and 1 byte', document(padded('{ __typename }', DOCUMENT_LIMIT + 1))),
    tooLong('a body one byte too long', padded(question, BODY_LIMIT + 1)),
    of('1,000 unknown fields', document(`{ ${many(1000, (i) => `u${i}`)} }`), few),
    of('21 directives', document(`{ __typename ${many(21, () => '@include(if: true)')} }`)),
    of('50,000 directives', document(`{ __typename ${'@a '.repeat(50_000)} }`)),
    of('50,000 directives on the operation', document(`query ${'@a '.repeat(50_000)} { __typename }`)),
    of('1,000 requests in a list', `[${Array(1000).fill(question).join(',')}]`),
    { name: '20 MB at once', send: announced, right: ({ status }) => status === 413 },
    { name: '20 MB in chunks', send: chunked, right: ({ status, sent }) => status === 413 && sent < 4 * BODY_LIMIT },
  ];
  return attack(context, cases, 'all are refused: 413 for bodies, unread; else 400, with at most 10 errors in 8 KiB');
}

/** Variables that are too deep, too long, or no values at all. */
export function variables(context) {
  const search = 'query($v: String) { products(first: 1, search: $v) { totalCount } }';
  const price =
    'query($v: Decimal) { products(first: 1, filter: { price: { currency: "EUR", gte: $v } }) { totalCount } }';
  const json = 'query($v: JSON) { products(first: 1, filter: { attributes: [{ key: "a", eq: $v }] }) { totalCount } }';
  const int = 'query($v: Int) { products(first: $v) { totalCount } }';
  const float = 'query($v: Float) { products(first: $v) { totalCount } }';
  const slug = 'query($v: String) { category(slug: $v) { id } }';
  const id = 'query($v: ID!) { node(id: $v) { id } }';
  // The value is written as it is, for JSON.stringify would mend it.
  const raw = (query, value) => `{"query":${JSON.stringify(query)},"variables":{"v":${value}}}`;
  const nested = (depth) => '['.repeat(depth) + ']'.repeat(depth);
  // Text that cannot be text in the database is an error of its field where the rest of the request is sound.
  const orFieldError = (answer) => clientError(answer) || (answer.status === 200 && answer.errors > 0);
  const cases = [
    of('nested 200', raw(json, nested(200))),
    of('nested 200, in text', raw(search, nested(200))),
    of('nested 200, unused', raw('{ __typename }', nested(200))),
    of('nested 100,000', raw(json, nested(100_000))),
    tooLong('a string of 1 MB', raw(search, `"${'x'.repeat(1_000_000)}"`)),
    of('a string of 200 kB', raw(search, `"${'x'.repeat(200_000)}"`), orFieldError),
    of('a string of 200 kB as id', raw(id, `"${'x'.repeat(200_000)}"`), ({ status }) => status < 500 && status > 0),
    of('a lone surrogate', raw(search, '"\\ud800"'), clientError),
    of('a lone low surrogate', raw(slug, '"a\\udc00b"'), clientError),
    of('a lone surrogate as name', '{"query":"{ __typename }","variables":{"\\ud800":1}}', clientError),
    of('a zero character in a search', raw(search, '"a\\u0000b"'), orFieldError),
    of('a zero character in a slug', raw(slug, '"a\\u0000b"'), ({ status }) => status < 500 && status > 0),
    of('a zero character in JSON', raw(json, '"a\\u0000b"'), ({ status }) => status < 500 && status > 0),
    of('2^63', raw(int, '9223372036854775808'), clientError),
    of('2^64', raw(int, '18446744073709551616'), clientError),
    of('2^31', raw(int, '2147483648'), clientError),
    of('1e400', raw(price, '1e400'), clientError),
    of('-1e400 in a float', raw(float, '-1e400'), clientError),
    of('1e400 as text', raw(price, '"1e400"'), orFieldError),
    of('NaN', raw(price, 'NaN'), clientError),
    of('NaN as text', raw(price, '"NaN"'), orFieldError),
  ];
  return attack(context, cases, 'all are refused, none with 5xx');
}

/** Access tokens that were signed with keys which nobody knows, at full speed. */
export function tokens(context) {
  const part = (bytes) => Buffer.from(bytes).toString('base64url');
  const token = () => {
    const kid = createHash('sha256').update(randomBytes(8)).digest('base64url');
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: 'stockroom', aud: 'stockroom', sub: randomBytes(16).toString('hex'), role: 'ADMIN' };
    const header = part(JSON.stringify({ alg: 'EdDSA', typ: 'at+jwt', kid }));
    return [header, part(JSON.stringify({ ...claims, iat: now, exp: now + 300 })), part(randomBytes(64))].join('.');
  };
  const body = document('{ __typename }');
  const send = (port, agent) => post(port, agent, body, { authorization: `Bearer ${token()}` });
  const cases = [{ name: 'an unknown key', send, right: ({ status }) => status === 401 }];
  return attack({ ...context, pace: 0 }, cases, 'all are refused with 401', 50);
}

/**
 * 200 who sign in all the time, each from an address of their own and every other one hanging up after 5 ms. So many
 * hashes run at once as may, and whoever finds the queue full is told to come back.
 */
export async function signIns(context) {
  const { port, ms } = context;
  const figure = async (name) => {
    const response = await fetch(`http://127.0.0.1:${port}/metrics`);
    return Number(new RegExp(`^stockroom_${name} (\\d+)`, 'm').exec(await response.text())?.[1]);
  };
  const permits = Math.max(1, availableParallelism() - 1);
  let most = 0;
  let over = false;
  const watching = (async () => {
    for (; !over; await sleep(20)) most = Math.max(most, await figure('password_hashes_running').catch(() => 0));
  })();
  const before = await figure('password_hashes_total').catch(() => NaN);
  const login = (i) =>
    document(`mutation { login(input: { email: "u${i}@stockroom.test", password: "guess ${i}" }) { errors { __typename } } }`);
  let sent = 0;
  const cases = Array.from({ length: 200 }, (_, i) => ({
    name: `address ${i}`,
    send: (to) => {
      // Nobody has guessed often enough to be refused for that.
      const number = sent++;
      const from = { localAddress: `127.1.${(number >> 8) & 255}.${number & 255}` };
      return post(to, false, login(number), {}, false, number % 2 ? { ...from, signal: AbortSignal.timeout(5) } : from);
    },
    right: ({ status, code }) => [0, code === 'BUSY' ? 503 : 200].includes(status) && ['', 'BUSY'].includes(code),
  }));
  const { seen, checks, told } = await attack({ ...context, pace: 0 }, cases, 'all are looked at, or told to come back', 200);
  over = true;
  await watching;
  const hashes = (await figure('password_hashes_total').catch(() => NaN)) - before;
  const busy = told.answers.get('503 BUSY') ?? 0;
  checks.push([`no more than ${permits} hashes run at once`, most <= permits, `${most}`], ['passwords are hashed', hashes > 0]);
  checks.push(['some are told to come back', busy > 0]);
  return { seen: `${seen}; ${hashes} hashes in ${ms} ms, ${most} at once`, checks };
}

/** Many logins in one document. None of them may cost a password's hash. */
export async function logins(context) {
  const hashes = async () => {
    // Its figure rises when a hash is done, so those under way need a moment.
    const response = await fetch(`http://127.0.0.1:${context.port}/metrics`);
    return Number(/^stockroom_password_hashes_total (\d+)/m.exec(await response.text())?.[1]);
  };
  const login = (i) => `a${i}: login(input: { email: "u${i}@stockroom.test", password: "guess ${i}" }) { user { id } }`;
  const list = (count) => Array.from({ length: count }, (_, i) => login(i)).join(' ');
  const counts = [2, 3, 5, 10, 30, 60, 99];
  const cases = counts.map((count) => of(`${count} logins`, document(`mutation { ${list(count)} }`)));
  const inFragments = (count) => {
    const parts = Array.from({ length: count }, (_, i) => `fragment f${i} on Mutation { ${login(i)} }`);
    return `mutation { ${parts.map((_, i) => `...f${i}`).join(' ')} } ${parts.join(' ')}`;
  };
  cases.push(of('2 logins in fragments', document(inFragments(2))));
  cases.push(of('20 logins in fragments', document(inFragments(20))));
  cases.push(of('2 operations', document(`mutation { ${login(0)} } mutation { ${login(1)} }`)));
  const before = await hashes().catch(() => NaN);
  const { seen, checks } = await attack(context, cases, 'all are refused with 400');
  await sleep(300);
  const after = await hashes().catch(() => NaN);
  checks.push(['no password is hashed', before === after, `from ${before} to ${after}`]);
  return { seen, checks };
}
