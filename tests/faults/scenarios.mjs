// What happens to the instances, and who may notice.
//
// Whatever happens, no read is older than it may be, no acknowledged write is lost, and none is done twice. Beyond that each
// scenario has its `promise`; `spares` tells which failed requests do not break it, and is none unless it says so.
// `strike` begins, `again` goes on every `every` milliseconds, `heal` ends it after `seconds`; then `of` says what has to be
// in use again, and how soon; with `within` it may take longer, and requests may fail for so long. `lasts` is what nothing
// ends. `can` is false where a machine does not let us do it. What `measures` runs only where it is named: a figure is no
// test.

import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

import { percentile } from '../attacks/load.mjs';
import { bounded } from '../attacks/proc.mjs';
import { freePort } from '../attacks/server.mjs';
import { dial, head } from '../attacks/wire.mjs';
import { Crowd } from './crowd.mjs';
import { oneOf } from './dice.mjs';
import { Listener } from './listener.mjs';
import { FIRST_PRICE } from './load.mjs';
import { Proxy } from './proxy.mjs';
import { Redis, until } from './stores.mjs';

/** Milliseconds until what is well again is in use again. */
export const RECOVERY = { redis: 5_000, database: 3_000, instance: 2_000 };

const any = () => true;
const shed = ({ kind }) => kind === 'BUSY';
const chosen = ({ instance }, { victim }) => instance === victim.number;
const MEMORY = 1024 ** 3;
/** How often a Redis that will die is told something that its replica may not hear. */
const TICK_MS = 100;
/** Who listens to an instance that ends, and who dawdles, some of them with so many pages that they do not read. */
const [LISTENERS, DAWDLERS, DAWDLED_PAGES] = [100, 20, 40];
/** Longest time until it has ended, whatever they do; and what listeners are told. */
const [DRAINED_MS, GOING_AWAY] = [20_000, 1001];
/** An overload: what so many can be served at once, and then so many times as much; so much of it is to be served. */
const [AT_ONCE, OVERLOAD, GOODPUT] = [48, 3, 0.7];
/** It is measured so often in turns, each time for so long. */
const [ROUNDS, ROUND_MS] = [3, 3000];
const HOUR = 3600;
/** Seconds that clocks may differ. */
const LEEWAY = 5;
/** When tokens begin and end by the clock of whoever is asked, and whether they hold; asking may take a few seconds. */
const TOKENS = [
  { iat: LEEWAY - 1, nbf: LEEWAY - 1, holds: true },
  { iat: 3 * LEEWAY, nbf: -LEEWAY, holds: false },
  { iat: -LEEWAY, nbf: 3 * LEEWAY, holds: false },
  { exp: -1, holds: true },
  { exp: -LEEWAY - 1, holds: false },
];

/** One of the instances, which it stays until the scenario is over. */
const choose = (context) => (context.victim = oneOf(context.dice, context.world.instances));
const redisWays = ({ world }) => world.instances.map(({ redis }) => redis);
const databaseWays = ({ world }) => world.instances.flatMap(({ database }) => database);
const mend = ({ world }) => world.ways.forEach((way) => way.heal());

/** Starts an instance where it was. */
async function startAgain(context, instance) {
  const began = performance.now();
  await instance.start('--auto-migrate', 'false');
  context.recovery = Math.max(context.recovery ?? 0, performance.now() - began);
}

/** Kills an instance and starts it again. */
async function replace(context, instance) {
  (context.victims ??= new Set()).add(instance.number);
  await instance.kill();
  await startAgain(context, instance);
}

const replaced = ({ instance, kind }, { victims }) => kind.startsWith('hang-up') && victims.has(instance);

/** Has other programs take all cores and the disk until they are dismissed. */
function takeCores(context) {
  const spin = ['sh', '-c', 'while :; do :; done'];
  const write = ['sh', '-c', 'while :; do dd if=/dev/zero of=busy bs=1M count=32 conv=fsync 2>/dev/null; done'];
  const commands = [...Array.from({ length: availableParallelism() }, () => spin), write];
  const others = commands.map((command) => {
    const [program, ...rest] = bounded({ memory: MEMORY }, command);
    return spawn(program, rest, { cwd: context.world.redis.folder, stdio: 'ignore', detached: true });
  });
  const dismiss = () => others.forEach(({ pid }) => process.kill(-pid, 'SIGKILL'));
  process.on('exit', dismiss);
  context.dismiss = () => {
    process.off('exit', dismiss);
    dismiss();
  };
}

/** Redis refuses in one way after another; each with what ends it. */
const REFUSALS = [
  ['CONFIG SET maxmemory-policy noeviction', 'CONFIG SET maxmemory 1', 'CONFIG SET maxmemory 0'],
  ['CONFIG SET replica-serve-stale-data yes', 'REPLICAOF 127.0.0.1 PORT', 'REPLICAOF NO ONE'],
  ['CONFIG SET replica-serve-stale-data no', 'REPLICAOF 127.0.0.1 PORT', 'REPLICAOF NO ONE'],
  ['CONFIG SET requirepass secret', 'CLIENT KILL TYPE normal SKIPME yes', 'CONFIG SET requirepass ""'],
];

export const SCENARIOS = [
  {
    name: 'nothing',
    promise: 'for comparison: nothing happens, and no request fails',
    seconds: 3,
  },
  {
    name: 'redis-flushed',
    promise: 'Redis forgets everything every 300 ms, and no request fails',
    every: 300,
    again: ({ world }) => world.redis.ask('FLUSHALL'),
    of: 'redis',
  },
  {
    name: 'redis-killed',
    promise: 'Redis dies and comes back, and no request fails',
    strike: ({ world }) => world.redis.kill(),
    heal: ({ world }) => world.redis.startAgain(),
    of: 'redis',
  },
  {
    name: 'redis-frozen',
    promise: 'Redis answers nothing for a while, and no request fails',
    strike: ({ world }) => world.redis.freeze(),
    heal: ({ world }) => world.redis.thaw(),
    of: 'redis',
  },
  {
    name: 'redis-out-of-reach',
    promise: 'one instance reaches no Redis that others use, and no request fails',
    strike: (context) => {
      const { redis } = choose(context);
      oneOf(context.dice, [redis.cut, redis.silence]).call(redis);
    },
    heal: mend,
    of: 'redis',
  },
  {
    name: 'redis-refuses',
    promise: 'Redis is full, a replica, without its master, behind a password, and no request fails',
    every: 1000,
    seconds: 4,
    again: async (context) => {
      const { world, turn = 0, mended } = context;
      if (mended) await world.redis.ask(mended);
      const [first, second, last] = REFUSALS[turn % REFUSALS.length];
      await world.redis.ask(first);
      await world.redis.ask(second.replace('PORT', context.nobody ??= await freePort()));
      Object.assign(context, { turn: turn + 1, mended: last });
    },
    heal: ({ world, mended }) => world.redis.ask(mended),
    of: 'redis',
  },
  {
    name: 'redis-failover',
    promise: 'Redis dies, a replica that is up to two seconds behind takes its place, and no request fails',
    strike: async (context) => {
      const { world, dice } = context;
      context.replica = await Redis.start();
      context.link = await Proxy.before(world.redis.port, dice);
      await context.replica.ask(`REPLICAOF 127.0.0.1 ${context.link.port}`);
      // What was written before a replica came it need not confirm.
      await until('the replica has all', async () => {
        context.first = await world.redis.ask('INCR faults:ticks');
        return (await world.redis.ask('WAIT 1 100')) === ':1';
      });
      context.link.delay(2000);
    },
    every: TICK_MS,
    again: async (context) => (context.ticks = await context.world.redis.ask('INCR faults:ticks')),
    heal: async (context) => {
      const { world, checker, replica, link } = context;
      await world.redis.kill();
      await replica.ask('REPLICAOF NO ONE');
      const told = [context.first, context.ticks, await replica.ask('INCR faults:ticks')];
      const [first, ticks, known] = told.map((number) => Number(number.slice(1)));
      const [missed, since] = [ticks - (known - 1), ticks - first];
      if (missed < Math.min(since, 10) / 2) checker.tells(`the replica lacked ${missed} of ${since} ticks only`);
      for (const way of redisWays(context)) way.leadsTo(replica.port);
      link.close();
      world.redis = replica;
      context.seen = `${missed * TICK_MS} ms were lost`;
    },
    of: 'redis',
  },
  {
    name: 'redis-unsteady',
    promise: 'Redis is slow, and its connections break in every way, and no request fails',
    strike: (context) => redisWays(context).forEach((way) => way.delay(60)),
    every: 250,
    again: (context) => {
      const way = oneOf(context.dice, redisWays(context));
      oneOf(context.dice, [way.reset, way.halfClose, way.halfOpen]).call(way);
    },
    heal: mend,
    of: 'redis',
  },
  {
    name: 'database-out-of-reach',
    promise: 'one instance reaches no PostgreSQL: it says so, and the others notice nothing',
    strike: (context) => choose(context).database.forEach((way) => way.cut()),
    heal: mend,
    spares: chosen,
    of: 'database',
  },
  {
    name: 'register-out-of-reach',
    promise: 'one instance cannot read the versions: it says so rather than answer from memory, and the others notice nothing',
    strike: (context) => choose(context).direct.cut(),
    heal: mend,
    spares: chosen,
    of: 'database',
  },
  {
    name: 'database-silent',
    promise: 'nothing from PostgreSQL arrives at one instance, and what was sent comes late: the others notice nothing',
    strike: (context) => choose(context).database.forEach((way) => way.silence()),
    heal: mend,
    // What is locked where nobody hears of it keeps others waiting.
    spares: any,
    of: 'database',
  },
  {
    name: 'database-slow',
    promise: 'each word to and from PostgreSQL takes up to 30 ms, and requests only wait, or are told to come again',
    strike: (context) => databaseWays(context).forEach((way) => way.delay(30)),
    heal: mend,
    spares: shed,
    of: 'database',
  },
  {
    name: 'database-stopped',
    promise: 'PostgreSQL stops at once and comes back: until then writes are told so, within half a second',
    seconds: 4,
    strike: ({ world }) => world.postgres.stop(),
    heal: ({ world }) => world.postgres.startAgain(),
    spares: any,
    told: 500,
    of: 'database',
  },
  {
    name: 'database-frozen',
    promise: 'PostgreSQL answers nothing for a while: requests wait or are told so, and memory does not grow',
    strike: ({ world }) => world.postgres.freeze(),
    heal: ({ world }) => world.postgres.thaw(),
    spares: any,
    of: 'database',
  },
  {
    name: 'disk-full',
    promise: 'the disk of the change log is full: writes are told so, reads go on, and when there is room writes do',
    // Whoever wants a small disk must mount it.
    can: process.platform === 'linux' && process.getuid() === 0,
    strike: ({ world }) => world.postgres.fillDisk(),
    heal: async ({ world, load, checker }) => {
      if (!load.failures.some(({ kind }) => kind === 'UNAVAILABLE')) checker.tells('no write met the full disk');
      await world.postgres.emptyDisk();
    },
    spares: ({ what, kind }) => what === 'write' && kind === 'UNAVAILABLE',
    told: 500,
    of: 'database',
  },
  {
    name: 'backends-terminated',
    promise: 'a connection to PostgreSQL ends every 100 ms: of a hundred reads one fails at most',
    every: 100,
    strike: (context) => (context.session = context.world.postgres.session()),
    again: ({ session }) =>
      session.say(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1`),
    heal: ({ session }) => session.end(),
    spares: any,
    unread: 0.01,
    of: 'database',
  },
  {
    name: 'connections-reset',
    promise: 'ways to PostgreSQL break every 200 ms, at whatever point of a statement',
    every: 200,
    again: (context) => {
      const way = oneOf(context.dice, databaseWays(context));
      oneOf(context.dice, [way.reset, way.halfClose]).call(way);
    },
    heal: mend,
    spares: any,
    of: 'database',
  },
  {
    name: 'connections-half-open',
    promise: 'all connections to PostgreSQL lose their other end unnoticed, and are made anew within 15 s',
    seconds: 0,
    strike: (context) => databaseWays(context).forEach((way) => way.halfOpen()),
    heal: mend,
    spares: any,
    of: 'database',
    within: 15_000,
  },
  {
    name: 'commits-lost',
    promise: 'answers to COMMIT are lost: a write with a key has its true answer, one without is told that nobody knows',
    strike: (context) => databaseWays(context).forEach((way) => way.loseReplies('COMMIT', 20)),
    heal: async (context) => {
      const { world, load, checker } = context;
      const ways = databaseWays(context);
      ways.forEach((way) => way.loseReplies('COMMIT', 100));
      const alone = "SELECT version, stock FROM products WHERE sku = 'ALONE'";
      const look = async () => (await world.postgres.ask(alone))[0].map(Number);
      for (let tries = 0, told = 0; told < 3 && tries < 100; tries++) {
        const [before] = await look();
        const { id, code } = await load.adjustOnce(tries % world.instances.length);
        const [version, stock] = await look();
        // It may have had no connection to begin on.
        if (shed({ kind: code }) && version === before) continue;
        told++;
        if (code !== 'OUTCOME_UNKNOWN') checker.tells(`a write without a key, whose commit had no answer, was told ${code}`);
        if (version !== before + 1) checker.tells(`a write that was sent once was done ${version - before} times`);
        checker.acknowledges({ id, version, stock, price: FIRST_PRICE });
      }
      const swallowed = ways.reduce((sum, way) => sum + way.swallowed, 0);
      if (swallowed < 10) checker.tells(`only ${swallowed} answers were lost`);
      mend(context);
    },
    spares: any,
    of: 'database',
  },
  {
    name: 'hang-ups',
    promise: 'clients hang up at random points of a mutation, which happens all the same or not at all',
    strike: ({ load }) => (load.hangUps = 70),
    heal: ({ load }) => (load.hangUps = 0),
    of: 'database',
  },
  {
    name: 'write-storm',
    promise: 'many write without a rest to what all read, and no read fails',
    strike: ({ load }) => load.more({ writers: 15, rest: 0 }),
    spares: ({ what, kind }) => what === 'write' && kind === 'BUSY',
    lasts: true,
  },
  {
    name: 'instances-killed',
    promise: 'one instance after another dies and is started again: only its own requests fail, and serve again 2 s later',
    seconds: 6,
    every: 2000,
    again: (context) => replace(context, choose(context)),
    spares: replaced,
    of: 'instance',
  },
  {
    name: 'instance-drained',
    promise: 'an instance is told to end, clients dawdle and listen: no request fails, and it ends within 20 s',
    seconds: 0,
    strike: async (context) => {
      const { world, load, checker } = context;
      const { number, port, server } = choose(context);
      const query = 'subscription { productEvents(filter: { sku: { startsWith: "ALONE" } }) { cursor } }';
      const listeners = Array.from({ length: LISTENERS }, (_, count) => new Listener(port, query, count % 2 === 0));
      await until('all listeners hear', async () => {
        await load.adjustOnce((number + 1) % world.instances.length);
        return listeners.every(({ events }) => events);
      });
      const pages = 'GET /schema.graphql HTTP/1.1\r\nhost: localhost\r\n\r\n'.repeat(DAWDLED_PAGES);
      const half = head({ 'content-length': 1000 }) + '{';
      const dawdle = (_, count) => dial(port, count % 2 ? pages : half, { reads: false });
      const dawdlers = Array.from({ length: DAWDLERS }, dawdle);
      await until('a request is under way', () => load.underWay[number] > 0);
      const [told, waiting] = [performance.now(), load.underWay[number]];
      server.process.kill('SIGTERM');
      await until('it is not ready', async () => (await server.get('/readyz'))?.status !== 200);
      load.avoided = number;
      await until('it has ended', () => server.end);
      const took = performance.now() - told;
      if (took > DRAINED_MS) checker.tells(`an instance that was told to end did so after ${Math.round(took)} ms`);
      if (server.end !== 'exit code 0') checker.tells(`an instance that was told to end did so with ${server.end}`);
      await Promise.race([Promise.all(listeners.map(({ closed }) => closed)), sleep(1000)]);
      const unlike = listeners.filter(({ code }) => code !== GOING_AWAY);
      if (unlike.length) checker.tells(`${unlike.length} listeners were told ${unlike[0].code}, not ${GOING_AWAY}`);
      for (const listener of listeners) listener.end();
      for (const { socket } of dawdlers) socket.destroy();
      context.seen = `ended in ${Math.round(took)} ms with ${waiting} requests under way`;
    },
    heal: async (context) => {
      await startAgain(context, context.victim);
      context.load.avoided = undefined;
    },
    // Two serve what three did, and may have too much to do for a moment.
    spares: shed,
    of: 'instance',
  },
  {
    name: 'clock-wrong',
    promise: 'the clock of one instance is an hour ahead, then behind: it judges tokens by that, and all else is right',
    // Elsewhere programs cannot be lied to so easily.
    can: process.platform === 'linux',
    seconds: 4,
    every: 1500,
    again: async (context) => {
      const { world, load, checker, turn = 0 } = context;
      const victim = (context.victim ??= choose(context));
      victim.ahead = turn % 2 ? -HOUR : HOUR;
      await replace(context, victim);
      for (const { number, ahead } of world.instances) {
        for (const { holds, ...claims } of TOKENS) {
          const now = Math.floor(Date.now() / 1000) + ahead;
          const moments = Object.entries(claims).map(([name, seconds]) => [name, now + seconds]);
          const known = await load.knows(number, world.sign(Object.fromEntries(moments)));
          const token = `a token with ${JSON.stringify(claims)} s`;
          const is = known ? 'valid' : 'refused';
          if (known !== holds) checker.tells(`${token} is ${is} where the clock is ${ahead} s ahead`);
        }
      }
      await load.writesOnce();
      await load.turnsPages();
      context.turn = turn + 1;
    },
    heal: async (context) => {
      context.victim.ahead = 0;
      await replace(context, context.victim);
    },
    spares: replaced,
    of: 'instance',
  },
  {
    name: 'machine-busy',
    promise: 'others take all cores and the disk, and requests only wait, or are told to come again',
    strike: takeCores,
    heal: ({ dismiss }) => dismiss(),
    spares: ({ kind }) => ['BUSY', 'TIMEOUT', 'UNAVAILABLE'].includes(kind),
    of: 'instance',
  },
  {
    name: 'overload',
    measures: true,
    promise: 'others take all cores, and three times what can be served is asked for: 70 % of it still is, the rest is sent away',
    seconds: 0,
    strike: async (context) => {
      const { world, checker } = context;
      // What leads through here would be as slow as we are.
      for (const instance of world.instances) {
        instance.isStraight = true;
        await replace(context, instance);
      }
      takeCores(context);
      const crowd = await Crowd.gather(world.instances.map(({ port }) => port));
      const [rounds, told] = [[], new Map()];
      for (let round = 0; round < ROUNDS; round++) {
        const peak = await crowd.asks({ width: AT_ONCE, ms: ROUND_MS });
        const flood = await crowd.asks({ rate: OVERLOAD * peak.served, ms: ROUND_MS });
        rounds.push({ peak: peak.served, share: flood.served / peak.served });
        for (const [answer, count] of [...peak.answers, ...flood.answers]) told.set(answer, (told.get(answer) ?? 0) + count);
      }
      crowd.leaves();
      const [peak, share] = ['peak', 'share'].map((figure) => percentile(rounds.map((round) => round[figure]), 0.5));
      if (share < GOODPUT) checker.tells(`of ${Math.round(peak)} a second ${Math.round(100 * share)} % were left`);
      if (!told.has('BUSY')) checker.tells('nobody was sent away');
      const others = [...told].filter(([answer]) => !['served', 'BUSY'].includes(answer)).map((it) => it.join(': '));
      if (others.length) checker.tells(`of a crowd some were told ${others}`);
      context.seen = `${Math.round(peak)} a second at best, ${Math.round(100 * share)} % of it under ${OVERLOAD} times the load`;
    },
    heal: async (context) => {
      context.dismiss();
      for (const instance of context.world.instances) {
        instance.isStraight = false;
        await replace(context, instance);
      }
    },
    spares: (failure, context) => shed(failure) || replaced(failure, context),
    of: 'instance',
  },
];

/** Waits until all instances use Redis again. */
export async function redisIsUsed({ world }) {
  const since = performance.now();
  await until('all instances use Redis', () => redisWays({ world }).every(({ heardAt }) => heardAt > since));
  await until('Redis keeps answers', async () => !['', ':0'].includes(await world.redis.ask('DBSIZE').catch(() => '')));
  return performance.now() - since;
}
