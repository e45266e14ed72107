// The others beside the server: honest client and attackers, each a process of its own, so that none waits for the
// collector or the event loop of another.
//
// In the world each of them has a machine of its own. Here they share the server's cores, and a busy scheduler is no fault
// of the server. So all but the attackers are of Linux's real-time class, in quiet times, too: the honest client first,
// for its clock is not to wait, then server and PostgreSQL. None of them ever waits for an attacker, nor for a stranger's
// compiler, but for each other, and for what the attack makes server and kernel do. Niceness and the idle class would not
// do: they count only within a scheduling group, of which each session has its own, and PostgreSQL opens one for every
// backend.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const running = new Set();

/** Whether this process, and whatever it starts, comes before all that is not real-time: not everybody's may. */
export const isFirst = spawnSync('chrt', ['--all-tasks', '--rr', '--pid', '1', `${process.pid}`]).status === 0;

/** The client who asks for what is there. */
export const honestClient = (port) => player(isFirst ? ['chrt', '--rr', '2'] : [], 'honest.mjs', `${port}`);

/** Someone who has yet to be told what to attack. */
export const attacker = () => player(['chrt', '--other', '0'], 'attacker.mjs');

async function player(as, file, ...words) {
  const [command, ...rest] = [...as, process.execPath, fileURLToPath(new URL(file, import.meta.url)), ...words];
  const child = spawn(command, rest, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], serialization: 'advanced' });
  running.add(child);
  child.on('exit', () => running.delete(child));
  await hear(child);
  return child;
}

/** What it says next. */
export function hear(child) {
  return new Promise((resolve, reject) => {
    const ended = () => reject(new Error('it ended early'));
    child.once('exit', ended);
    child.once('error', reject);
    child.once('message', (said) => {
      child.off('exit', ended).off('error', reject);
      resolve(said);
    });
  });
}

/** Ends it, and with it its connections. */
export async function dismiss(child) {
  if (!running.has(child)) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

/** Ends all, at once. */
export function dismissAll() {
  for (const child of running) child.kill('SIGKILL');
}
