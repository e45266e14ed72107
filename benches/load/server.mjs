// Processes under load.

import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

const running = new Set();
/** Clock ticks of /proc, in a second. */
const TICKS = 100;

export class Server {
  constructor(name, process, port) {
    Object.assign(this, { name, process, port });
    running.add(this);
    this.ended = new Promise((resolve) => process.on('exit', resolve));
  }

  /** Stockroom without any limit on what one address may do. */
  static async stockroom(binary, name, flags, folder) {
    const port = await freePort();
    const address = `127.0.0.1:${port}`;
    const serve = ['serve', '--listen-addr', address, '--rate-limit', 'off', '--login-limit', 'off', '--log', 'warn'];
    const env = { PATH: process.env.PATH, HOME: folder };
    const server = new Server(name, spawn(binary, [...serve, ...flags], { cwd: folder, env, stdio: ['ignore', 'ignore', 'inherit'] }), port);
    for (let tries = 0; tries < 300 && server.process.exitCode === null; tries++) {
      const ready = await fetch(`http://${address}/readyz`).catch(() => undefined);
      if (ready?.status === 200) return server;
      await sleep(200);
    }
    throw new Error(`${name} did not start`);
  }

  /** One of the limits, which says its port. */
  static async limit(binary, name, arguments_) {
    const child = spawn(binary, arguments_, { stdio: ['pipe', 'pipe', 'inherit'] });
    for await (const line of createInterface({ input: child.stdout })) return new Server(name, child, Number(line));
    throw new Error(`${name} did not start`);
  }

  /** Seconds of processor time so far. */
  cpu() {
    return stat(this.process.pid).cpu;
  }

  /** Resident memory in MiB. */
  memory() {
    const status = readFileSync(`/proc/${this.process.pid}/status`, 'utf8');
    return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)[1]) / 1024);
  }

  async stop() {
    running.delete(this);
    this.process.kill('SIGTERM');
    await this.ended;
  }

  static stopAll() {
    for (const server of running) server.process.kill('SIGTERM');
  }
}

/** Seconds of processor time so far of a process and those that it started, such as PostgreSQL's. */
export function cpuOfAll(pid) {
  const children = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map((name) => {
    try {
      return stat(name);
    } catch {
      // It has ended meanwhile.
      return { parent: 0, cpu: 0 };
    }
  });
  const own = stat(pid);
  return children.filter(({ parent }) => parent === pid).reduce((all, { cpu }) => all + cpu, own.cpu + own.cpuOfEnded);
}

function stat(pid) {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ').map(Number);
  return { parent: fields[1], cpu: (fields[11] + fields[12]) / TICKS, cpuOfEnded: (fields[13] + fields[14]) / TICKS };
}

export function freePort() {
  return new Promise((resolve, reject) => {
    const listener = net.createServer().on('error', reject);
    listener.listen(0, '127.0.0.1', () => {
      const { port } = listener.address();
      listener.close(() => resolve(port));
    });
  });
}
