import { cacheExchange } from '@urql/exchange-graphcache';
import { type Client as SocketClient, createClient } from 'graphql-ws';
import { Client, fetchExchange, subscriptionExchange } from 'urql';
import { useSyncExternalStore } from 'react';

import { consistent } from '../../kit/consistency';
import { connectionParams } from '../../kit/credentials';
import { keys, updates } from '../../kit/graphcache';
import schema from '../../kit/introspection.json';
import { authentication } from '../../kit/urql';
import { documentId, documents } from './documents';
import { credentials } from './session';

/** The server refuses the token: it has ended or was revoked. */
const FORBIDDEN = 4403;

let isLive = true;
const listeners = new Set<() => void>();

function live(now: boolean): void {
  if (isLive !== now) {
    isLive = now;
    listeners.forEach((listener) => listener());
  }
}

/** Whether the server is there, as far as the socket knows. */
export function useLiveness(): boolean {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => isLive,
  );
}

function socket(): SocketClient {
  return createClient({
    // Whoever is signed in is told at once when that ends, on whatever page they are.
    lazy: credentials.current === null,
    onNonLazyError: () => live(false),
    url: `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/graphql`,
    connectionParams: connectionParams(credentials),
    retryAttempts: Infinity,
    shouldRetry: () => true,
    // Soon at first, then every few seconds, never all clients at once.
    retryWait: (tries) => new Promise((done) => setTimeout(done, Math.min(250 * 2 ** tries, 4000) * (0.5 + Math.random() / 2))),
    on: {
      connected: () => live(true),
      closed: (event) => {
        const code = (event as CloseEvent).code;
        if (code === FORBIDDEN) {
          // Expired or revoked: the refresh tells which, and ends a session that is no more.
          void credentials.refresh().catch(() => undefined);
        } else if (code !== 1000) {
          live(false);
        }
      },
    },
  });
}

/** A client with an empty cache, for one viewer. */
export function createShopClient(): { client: Client; dispose: () => void } {
  const connection = socket();
  const client = new Client({
    url: '/graphql',
    preferGetMethod: false,
    fetch: consistent(),
    fetchOptions: { headers: { accept: 'application/graphql-response+json' } },
    exchanges: [
      cacheExchange({ schema, keys, updates, optimistic }),
      authentication(credentials),
      subscriptionExchange({
        forwardSubscription: (request, operation) => ({
          subscribe: (sink) => {
            const id = documentId(operation.query);
            // A socket that comes back goes on after the last event that was seen.
            let after: string | undefined;
            const variables = {
              ...request.variables,
              get after() {
                return after;
              },
            };
            const body = id === undefined ? { query: request.query ?? '' } : { query: '', documentId: id };
            const unsubscribe = connection.subscribe<Record<string, unknown>>(
              { ...body, variables },
              {
                ...sink,
                next: (result) => {
                  const event = result.data?.productEvents as { cursor?: string } | undefined;
                  after = event?.cursor ?? after;
                  sink.next(result as Parameters<typeof sink.next>[0]);
                },
              },
            );
            return { unsubscribe };
          },
        }),
      }),
      documents,
      fetchExchange,
    ],
  });
  return { client, dispose: () => void connection.dispose() };
}

/** What the page shows until the server has answered. */
const optimistic = {};
