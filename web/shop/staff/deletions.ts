// Products that are to be deleted: they are out of sight at once, and the server is told once nobody can undo it.
import { useSyncExternalStore } from 'react';
import type { Client } from 'urql';

import { DeleteProductDocument } from '../gql/graphql';
import { refused, sorted } from '../ui/problems';
import { say } from '../ui/toasts';

const UNDO_MS = 6000;

let leaving: ReadonlySet<string> = new Set();
const listeners = new Set<() => void>();
const waiting = new Map<string, () => void>();

function mark(id: string, isLeaving: boolean): void {
  const next = new Set(leaving);
  if (isLeaving) {
    next.add(id);
  } else {
    next.delete(id);
  }
  leaving = next;
  listeners.forEach((listener) => listener());
}

export function useLeaving(): ReadonlySet<string> {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => leaving,
  );
}

/** Takes a product out of sight, and out of the catalogue unless that is undone. */
export function remove(client: Client, product: { id: string; name: string; version: number }): void {
  const { id, name, version } = product;
  mark(id, true);
  const commit = async () => {
    waiting.delete(id);
    const { data, error } = await client.mutation(DeleteProductDocument, { id, ifVersion: version }).toPromise();
    const { rest } = error ? refused(error) : sorted(data?.deleteProduct?.errors ?? [], []);
    if (!data?.deleteProduct?.deletedId) {
      say(`${name} is still there. ${rest[0] ?? ''}`, { tone: 'bad' });
    }
    mark(id, false);
  };
  const over = setTimeout(() => void commit(), UNDO_MS);
  const close = say(`${name} is deleted.`, {
    timeout: UNDO_MS,
    action: {
      label: 'Undo',
      run: () => {
        clearTimeout(over);
        waiting.delete(id);
        mark(id, false);
      },
    },
  });
  waiting.set(id, () => {
    clearTimeout(over);
    close();
    void commit();
  });
}

// Whoever leaves the page does not undo any more.
window.addEventListener('pagehide', () => waiting.forEach((commit) => commit()));
