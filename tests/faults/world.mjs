// Three instances that share a PostgreSQL and a Redis, each on ways of its own to both.

import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { memory, openFiles } from '../attacks/proc.mjs';
import { Server } from '../attacks/server.mjs';
import { document, post } from '../attacks/wire.mjs';
import { Proxy } from './proxy.mjs';
import { Postgres, Redis, scratch } from './stores.mjs';

export const INSTANCES = 3;
/** Seconds. */
const LONG_AGO = 2 * 3600;
const EMAIL = 'staff@stockroom.test';
const PASSWORD = 'correct horse';
const LOGIN = `mutation { login(input: { email: "${EMAIL}", password: "${PASSWORD}" }) { tokens { accessToken } } }`;

/** What makes a program take it for so many seconds later than it is. How fast time goes it knows all the same. */
function clock(ahead) {
  if (!ahead) return {};
  const library = execFileSync('faketime', ['-m', '-f', '+0', 'printenv', 'LD_PRELOAD'], { encoding: 'utf8' }).trim();
  return { LD_PRELOAD: library, FAKETIME: `${ahead > 0 ? '+' : ''}${ahead}`, FAKETIME_DONT_FAKE_MONOTONIC: '1' };
}

class Instance {
  /** Seconds that its clock is ahead. */
  ahead = 0;
  /** It goes straight to PostgreSQL and Redis, not on its ways. */
  isStraight = false;

  constructor(world, number, ways) {
    Object.assign(this, { world, number, ...ways });
  }

  /** Starts it, also after it was killed: then where it was before. */
  async start(...more) {
    const { postgres, redis, key, binary } = this.world;
    const by = (way, store) => (this.isStraight ? store.port : way.port);
    const [pooled, direct] = [this.pooled, this.direct].map((way) => postgres.url(by(way, postgres)));
    const stores = ['--database-url', pooled, '--database-direct-url', direct];
    const cache = ['--redis-url', `redis://127.0.0.1:${by(this.redis, redis)}`];
    const unlimited = ['--rate-limit', 'off', '--login-limit', 'off', '--login-address-limit', 'off'];
    const calm = ['--access-token-ttl', '48h', '--shutdown-delay', '1s', '--jwt-private-key-file', key];
    const flags = [...stores, ...cache, ...unlimited, ...calm, ...more];
    // It tells a great deal of what it meets here, which nobody reads.
    const env = { LOG: 'error', ...clock(this.ahead) };
    this.server = await Server.start(binary, { flags, env, port: this.server?.port });
    // What shares that clock among processes, and would outlive a kill.
    const shared = [`faketime_shm_${this.server.pid}`, `sem.faketime_sem_${this.server.pid}`];
    if (this.ahead) for (const name of shared) rmSync(join('/dev/shm', name), { force: true });
  }

  get port() {
    return this.server.port;
  }

  /** All ways to PostgreSQL. */
  get database() {
    return [this.pooled, this.direct];
  }

  /** As a crash would. */
  async kill() {
    this.server.process.kill('SIGKILL');
    await this.server.ended;
    await this.server.stop();
  }
}

export class World {
  #signs;
  #granted;

  /** Starts all, which takes a few seconds. */
  static async start(binary, dice) {
    const world = new World();
    world.binary = binary;
    const folder = scratch();
    world.key = join(folder, 'key.pem');
    world.#signs = generateKeyPairSync('ed25519').privateKey;
    writeFileSync(world.key, world.#signs.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    [world.postgres, world.redis] = await Promise.all([Postgres.start(), Redis.start()]);
    world.instances = [];
    for (let number = 0; number < INSTANCES; number++) {
      const before = (store) => Proxy.before(store.port, dice);
      const ways = await Promise.all([before(world.postgres), before(world.postgres), before(world.redis)]);
      const [pooled, direct, redis] = ways;
      world.instances.push(new Instance(world, number, { pooled, direct, redis }));
    }
    const [first, ...others] = world.instances;
    await first.start('--auto-migrate', 'true');
    await Promise.all(others.map((instance) => instance.start('--auto-migrate', 'false')));
    const create = ['user', 'create', EMAIL, '--role', 'STAFF', '--password-stdin'];
    const url = ['--database-url', world.postgres.url()];
    execFileSync(binary, [...create, ...url], { cwd: folder, input: `${PASSWORD}\n`, stdio: ['pipe', 'ignore', 'inherit'] });
    const answer = JSON.parse((await post(first.port, false, document(LOGIN))).text);
    world.#granted = answer.data.login.tokens.accessToken;
    world.token = world.sign();
    return world;
  }

  /** A token as the instances sign it, but with these claims, and granted before any clock that they have here. */
  sign(claims) {
    const [head, granted] = this.#granted.split('.');
    const given = JSON.parse(Buffer.from(granted, 'base64url'));
    const past = { iat: given.iat - LONG_AGO, nbf: given.iat - LONG_AGO };
    const all = Buffer.from(JSON.stringify({ ...given, jti: randomUUID(), ...past, ...claims })).toString('base64url');
    const signature = sign(null, Buffer.from(`${head}.${all}`), this.#signs);
    return `${head}.${all}.${signature.toString('base64url')}`;
  }

  /** Every way of every instance. */
  get ways() {
    return this.instances.flatMap(({ pooled, direct, redis }) => [pooled, direct, redis]);
  }

  /** How many connections to PostgreSQL are in use. */
  async inUse() {
    const told = await Promise.all(this.instances.map(({ server }) => server.metrics()));
    const counts = told.flatMap((metrics) => [...(metrics ?? [['database_connections in_use', NaN]])]);
    const inUse = counts.filter(([name]) => name.includes('database_connections') && name.includes('in_use'));
    return inUse.reduce((sum, [, count]) => sum + count, 0);
  }

  /** MiB of the largest instance, and the open files of all. */
  sizes() {
    const pids = this.instances.map(({ server }) => server.pid);
    return { largest: Math.max(...pids.map(memory)), files: pids.map(openFiles).reduce((sum, count) => sum + count) };
  }

  async end() {
    await Promise.all(this.instances.map(({ server }) => server.stop()));
    for (const way of this.ways) way.close();
  }
}

