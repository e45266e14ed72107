// What Linux tells of processes and their sockets, and how it bounds them.

import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';

/** The words of /proc/PID/stat after the name; none if there is no such process. */
function stat(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return [];
  }
}

/** Whether the process runs; one that ended and waits for its parent does not. */
export function runs(pid) {
  const [state] = stat(pid);
  return state !== undefined && state !== 'Z';
}

/** The processes that a process has started and that run still. */
export function children(pid) {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean).map(Number);
  } catch {
    // Not every system has that file.
    const told = spawnSync('pgrep', ['-P', `${pid}`], { encoding: 'utf8' }).stdout ?? '';
    return told.split('\n').filter(Boolean).map(Number);
  }
}

/** Seconds of CPU that the process has used. Linux counts them in hundredths. */
export function cpuSeconds(pid) {
  const words = stat(pid);
  return (Number(words[11]) + Number(words[12])) / 100;
}

/** MiB of memory that the process has in RAM; 0 if it does not run. */
export function memory(pid) {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}

/** How many files and sockets the process has open. */
export function openFiles(pid) {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return 0;
  }
}

/** The clients' ports of the connections to `port` that its server still holds open. */
export function heldConnections(port) {
  const held = new Set();
  for (const line of readFileSync('/proc/net/tcp', 'latin1').split('\n').slice(1)) {
    const [, local, remote, state, , , , , , inode] = line.trim().split(/\s+/);
    const number = (address) => parseInt(address.split(':')[1], 16);
    // A socket without an inode belongs to no process any more; 0A is one that listens.
    if (inode && inode !== '0' && state !== '0A' && number(local) === port) held.add(number(remote));
  }
  return held;
}

const has = (program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0;
const [BOUNDS, FOLLOWS] = [has('prlimit'), has('setpriv')];

/** A command with at most so many bytes of memory and open files, that dies with us; where the machine can do that. */
export function bounded({ memory, files }, command) {
  const limits = ['prlimit', `--as=${memory}`, ...(files ? [`--nofile=${files}`] : [])];
  return [...(FOLLOWS ? ['setpriv', '--pdeathsig', 'KILL'] : []), ...(BOUNDS ? limits : []), ...command];
}
