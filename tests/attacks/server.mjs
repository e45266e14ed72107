// A server to be tried: a process of its own, in a folder of its own, with bounded memory.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { bounded, runs } from './proc.mjs';

const MEMORY_LIMIT = 4 * 1024 ** 3;
const running = new Set();

export class Server {
  /**
   * Starts one and waits until it is ready; `files` is the most files that it may have open, `env` are settings, as flags
   * are; `port` is one that it had before.
   */
  static async start(binary, { files, env, flags = [], port } = {}) {
    const server = new Server();
    server.port = port ?? (await freePort());
    server.folder = mkdtempSync(join(tmpdir(), 'stockroom-attack-'));
    const listen = ['--data-dir', join(server.folder, 'data'), '--listen-addr', `127.0.0.1:${server.port}`];
    const [program, ...rest] = bounded({ memory: MEMORY_LIMIT, files }, [binary, 'serve', ...listen, ...flags]);
    server.process = spawn(program, rest, {
      cwd: server.folder,
      env: { PATH: process.env.PATH, HOME: server.folder, LOG: 'warn', ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    // What bounds it becomes the server, so this is the server's own.
    server.pid = server.process.pid;
    server.lastWords = '';
    server.process.stderr.on('data', (text) => (server.lastWords = (server.lastWords + text).slice(-2000)));
    server.ended = new Promise((resolve) => {
      server.process.on('exit', (code, signal) => resolve((server.end = signal ?? `exit code ${code}`)));
      server.process.on('error', (error) => resolve((server.end = error.message)));
    });
    running.add(server);
    for (let tries = 0; tries < 1200 && !server.end; tries++) {
      if ((await server.get('/readyz'))?.status === 200) return server;
      await sleep(50);
    }
    const words = server.lastWords;
    await server.stop();
    throw new Error(`the server did not start (${server.end}):\n${words}`);
  }

  /** Whether it is the process that was started. */
  get alive() {
    return !this.end && runs(this.pid);
  }

  /** What a page says; nothing if it does not answer. */
  get(path) {
    return new Promise((resolve) => {
      const options = { host: '127.0.0.1', port: this.port, path, agent: false, signal: AbortSignal.timeout(2000) };
      const request = http.get(options, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (more) => (text += more));
        response.on('end', () => resolve({ status: response.statusCode, text })).on('error', () => resolve());
      });
      request.on('error', () => resolve());
    });
  }

  /** Its figures by name and labels; nothing if it does not tell them. */
  async metrics() {
    const page = await this.get('/metrics');
    if (page?.status !== 200) return undefined;
    const lines = page.text.split('\n').filter((line) => line && !line.startsWith('#'));
    return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]));
  }

  /** Ends it, kindly at first, and takes its folder away. */
  async stop() {
    if (!this.end) {
      this.process.kill('SIGTERM');
      const patience = setTimeout(() => this.process.kill('SIGKILL'), 20_000);
      await this.ended;
      clearTimeout(patience);
    }
    running.delete(this);
    // A private PostgreSQL outlives a killed server for a moment.
    for (let tries = 0; tries < 30 && !removed(this.folder); tries++) await sleep(200);
  }
}

/** Ends all that run, at once. */
export function killAll() {
  for (const server of running) {
    if (!server.end) server.process.kill('SIGKILL');
    removed(server.folder);
  }
}

function removed(folder) {
  try {
    rmSync(folder, { recursive: true, force: true });
    return true;
  } catch {
    return false;
  }
}

/** A port that nobody listens on. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const listener = net.createServer().on('error', reject);
    listener.listen(0, '127.0.0.1', () => {
      const { port } = listener.address();
      listener.close(() => resolve(port));
    });
  });
}
