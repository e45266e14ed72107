// A PostgreSQL and a Redis that may be stopped, frozen and killed.

import { execFile, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

import { bounded, children } from '../attacks/proc.mjs';
import { freePort } from '../attacks/server.mjs';

const MEMORY_LIMIT = 4 * 1024 ** 3;
const PATIENCE_MS = 30_000;
/** Bytes of a disk beyond what is on it before it is filled. */
const ROOM = 4 * 1024 ** 2;
const running = new Set();
const folders = [];
const run = promisify(execFile);

/** A folder that goes when we do. */
export function scratch() {
  const folder = mkdtempSync(join(tmpdir(), 'stockroom-faults-'));
  folders.push(folder);
  return folder;
}

/** Ends all that run, at once, and takes their folders away. */
export function endAll() {
  for (const store of running) store.end();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
}

/** Waits until something is so. */
export async function until(what, isSo, patience = PATIENCE_MS) {
  const asked = performance.now();
  while (!(await isSo())) {
    if (performance.now() - asked > patience) throw new Error(`in ${patience / 1000} s it did not happen that ${what}`);
    await sleep(20);
  }
}

function signal(pid, name) {
  try {
    process.kill(pid, name);
  } catch {
    // It is no more.
  }
}

class Store {
  /** Starts the program, which is not there before anybody asks `until` it answers. */
  spawn(command, options) {
    const [program, ...rest] = bounded({ memory: MEMORY_LIMIT }, command);
    // A process group of its own: Ctrl-C is for us, who end it.
    this.process = spawn(program, rest, { detached: true, stdio: 'ignore', ...options });
    this.ended = new Promise((resolve) => this.process.on('exit', resolve).on('error', resolve));
    running.add(this);
  }

  get pid() {
    return this.process.pid;
  }
}

export class Postgres extends Store {
  #disk;

  static async start() {
    const postgres = new Postgres();
    postgres.programs = programs();
    postgres.port = await freePort();
    postgres.password = randomBytes(18).toString('base64url');
    const folder = scratch();
    const passwordFile = join(folder, 'password');
    postgres.cluster = join(folder, 'cluster');
    writeFileSync(passwordFile, postgres.password, { mode: 0o600 });
    mkdirSync(postgres.cluster, { mode: 0o700 });
    postgres.account = account();
    const { uid, gid } = postgres.account;
    if (uid !== undefined) for (const path of [folder, passwordFile, postgres.cluster]) chownSync(path, uid, gid);
    const letters = process.platform === 'darwin' ? 'en_US.UTF-8' : 'C.UTF-8';
    const sorted = ['-E', 'UTF8', '--locale=C', `--lc-ctype=${letters}`, '--no-sync'];
    const owned = ['-U', 'stockroom', '-A', 'scram-sha-256', '--pwfile', passwordFile];
    const made = ['-D', postgres.cluster, ...owned, ...sorted];
    await run(join(postgres.programs, 'initdb'), made, { cwd: '/', ...postgres.account });
    await postgres.startAgain();
    await postgres.ask('CREATE DATABASE stockroom', 'postgres');
    return postgres;
  }

  /** Starts it, also after it was stopped, and waits until it takes connections. */
  async startAgain() {
    // What was acknowledged outlives the processes, though not the machine.
    const careless = ['fsync=off', 'full_page_writes=off'];
    const small = ['max_connections=150', 'shared_buffers=64MB'];
    const here = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'timezone=UTC'];
    // For our own questions; the instances see to it themselves.
    const found = ['search_path=public,accounts,catalog,shared'];
    const settings = [...careless, ...small, ...here, ...found].flatMap((setting) => ['-c', setting]);
    const command = [join(this.programs, 'postgres'), '-D', this.cluster, '-p', `${this.port}`, ...settings];
    this.spawn(command, { cwd: '/', ...this.account });
    const asked = ['-q', '-h', '127.0.0.1', '-p', `${this.port}`, '-t', '1'];
    await until('PostgreSQL takes connections', () =>
      run(join(this.programs, 'pg_isready'), asked).then(() => true, () => false),
    );
  }

  url(port = this.port, database = 'stockroom') {
    return `postgres://stockroom:${this.password}@127.0.0.1:${port}/${database}?sslmode=disable`;
  }

  /** The rows of an answer, each of its values as text. */
  async ask(statement, database) {
    const asked = ['-XAtq', '-F', '\t', '-v', 'ON_ERROR_STOP=1', '-d', this.url(this.port, database), '-c', statement];
    const { stdout } = await run(join(this.programs, 'psql'), asked, { maxBuffer: 64 * 1024 ** 2 });
    return stdout.split('\n').filter(Boolean).map((line) => line.split('\t'));
  }

  /** What takes statement after statement until it is told to `end`. */
  session() {
    const psql = spawn(join(this.programs, 'psql'), ['-XAtq', '-d', this.url()], { stdio: ['pipe', 'ignore', 'ignore'] });
    psql.stdin.on('error', () => {});
    return { say: (statement) => psql.stdin.write(`${statement};\n`), end: () => psql.stdin.end() };
  }

  /** As its administrator does who is in a hurry: without a word to anybody, and with a recovery at the next start. */
  async stop() {
    signal(this.pid, 'SIGQUIT');
    await this.ended;
    running.delete(this);
  }

  /** Puts the change log on a disk that is full; only root may. */
  async fillDisk() {
    const { uid, gid } = this.account;
    const [[size]] = await this.ask("SELECT pg_total_relation_size('changes')");
    const disk = scratch();
    const room = `size=${Number(size) + ROOM},mode=755`;
    await run('mount', ['-t', 'tmpfs', '-o', room, 'tmpfs', disk]);
    this.#disk = disk;
    const place = join(disk, 'tight');
    mkdirSync(place);
    chownSync(place, uid, gid);
    await this.ask(`CREATE TABLESPACE tight LOCATION '${place}'`);
    await this.ask('ALTER TABLE changes SET TABLESPACE tight');
    // It fails when the disk is full, which is what it is for.
    await run('dd', ['if=/dev/zero', `of=${join(disk, 'other')}`, 'bs=8k']).catch(() => {});
  }

  /** Makes room there, and puts the log back. */
  async emptyDisk() {
    rmSync(join(this.#disk, 'other'));
    await this.ask('ALTER TABLE changes SET TABLESPACE pg_default');
    await this.ask('DROP TABLESPACE tight');
    await run('umount', ['--lazy', this.#disk]);
    this.#disk = undefined;
  }

  freeze() {
    this.#signalAll('SIGSTOP');
  }

  thaw() {
    this.#signalAll('SIGCONT');
  }

  end() {
    this.thaw();
    // It ends its processes, and frees what the machine keeps for it, which takes a moment.
    signal(this.pid, 'SIGQUIT');
    const [pause, asked] = [new Int32Array(new SharedArrayBuffer(4)), performance.now()];
    const stands = () => existsSync(join(this.cluster, 'postmaster.pid'));
    while (stands() && performance.now() - asked < 5000) Atomics.wait(pause, 0, 0, 20);
    signal(this.pid, 'SIGKILL');
    if (this.#disk) spawnSync('umount', ['--lazy', this.#disk]);
  }

  #signalAll(name) {
    // Each of its processes has a group of its own.
    signal(this.pid, name);
    for (const child of children(this.pid)) signal(child, name);
  }
}

export class Redis extends Store {
  #admin;

  static async start() {
    const redis = new Redis();
    redis.port = await freePort();
    redis.folder = scratch();
    await redis.startAgain();
    return redis;
  }

  /** Starts it, also after it was killed, and waits until it answers. */
  async startAgain() {
    const forgetful = ['--save', '', '--appendonly', 'no', '--repl-diskless-sync-delay', '0'];
    const here = ['--port', `${this.port}`, '--bind', '127.0.0.1', '--dir', this.folder];
    this.spawn(['redis-server', ...here, ...forgetful], {});
    await until('Redis answers', async () => (await this.ask('PING').catch(() => '')) === '+PONG');
  }

  /** The first line of the answer to a command. */
  async ask(command) {
    if (!this.#admin || this.#admin.destroyed) this.#admin = await connect(this.port);
    const admin = this.#admin;
    return new Promise((resolve, reject) => {
      const failed = () => reject(new Error(`Redis did not answer ${command}`));
      admin.once('close', failed);
      admin.once('data', (bytes) => {
        admin.off('close', failed);
        resolve(bytes.toString().split('\r\n')[0]);
      });
      admin.write(`${command}\r\n`);
    });
  }

  kill() {
    signal(this.pid, 'SIGKILL');
    running.delete(this);
    return this.ended;
  }

  freeze() {
    signal(this.pid, 'SIGSTOP');
  }

  thaw() {
    signal(this.pid, 'SIGCONT');
  }

  end() {
    signal(this.pid, 'SIGKILL');
    this.#admin?.destroy();
  }
}

function connect(port) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => resolve(socket)).on('error', reject);
    socket.on('end', () => socket.destroy()).unref();
  });
}

/** The folder of the newest PostgreSQL's programs. */
function programs() {
  const places = (process.env.PATH ?? '').split(delimiter);
  const told = spawnSync('pg_config', ['--bindir'], { encoding: 'utf8' }).stdout?.trim();
  if (told) places.push(told);
  for (const folder of ['/usr/lib/postgresql', '/usr', '/opt/homebrew/opt', '/usr/local/opt']) {
    if (!existsSync(folder)) continue;
    const named = readdirSync(folder).filter((name) => /^(postgresql.*|pgsql-\d+|\d+)$/.test(name));
    places.push(...named.map((name) => join(folder, name, 'bin')));
  }
  const versions = places
    .filter((place) => ['postgres', 'initdb', 'psql', 'pg_isready'].every((name) => existsSync(join(place, name))))
    .map((place) => {
      const said = spawnSync(join(place, 'postgres'), ['--version'], { encoding: 'utf8' }).stdout ?? '';
      return { place, version: Number(/\d+/.exec(said)?.[0] ?? 0) };
    });
  const [newest] = versions.sort((one, other) => other.version - one.version);
  if (!newest) throw new Error('no PostgreSQL server was found; install one (Debian: apt-get install postgresql)');
  return newest.place;
}

/** Whom PostgreSQL runs as when we are root, which it refuses. */
function account() {
  if (process.getuid() !== 0) return {};
  const users = readFileSync('/etc/passwd', 'utf8').split('\n').map((line) => line.split(':'));
  const user = ['postgres', 'nobody'].map((name) => users.find((fields) => fields[0] === name)).find(Boolean);
  if (!user) throw new Error('PostgreSQL refuses to run as root; make a user for it with `useradd postgres`');
  return { uid: Number(user[2]), gid: Number(user[3]) };
}
