// Who is signed in. The access token is in memory alone; the refresh token outlives a reload in this tab's
// sessionStorage, and nothing is ever in localStorage.
import { Client, fetchExchange } from '@urql/core';
import { useSyncExternalStore } from 'react';

import { Credentials, type Tokens } from '../../kit/credentials';
import { type AccountFragment, RefreshDocument, type SignedInFragment } from '../gql/graphql';
import { documents } from './documents';

const KEPT = 'stockroom:refresh-token';

export interface Session {
  /** Null for strangers; undefined until the page knows. */
  user: AccountFragment | null | undefined;
  /** The server ended the session, not the user. */
  ended: boolean;
}

let session: Session = { user: undefined, ended: false };
const listeners = new Set<() => void>();

function become(next: Session): void {
  session = next;
  listeners.forEach((listener) => listener());
}

/** Whose tokens come: the page shows them once it has the tokens. */
let arriving: Session['user'];
let leaving = false;

/** Asks for new tokens beside the cache. */
const plain = new Client({ url: '/graphql', exchanges: [documents, fetchExchange], preferGetMethod: false });

async function renew(refreshToken: string): Promise<Tokens | null> {
  const { data, error } = await plain.mutation(RefreshDocument, { refreshToken }).toPromise();
  const answer = data?.refreshTokens;
  // Whoever gets no answer, or one only later, is signed in still.
  if (!answer || answer.errors.some((one) => 'code' in one && one.code === 'LOGIN_DELAYED')) {
    throw error ?? new Error('there is no answer yet');
  }
  arriving = answer.user ?? arriving;
  return answer.tokens ?? null;
}

export const credentials = new Credentials(renew, (tokens) => {
  if (tokens) {
    sessionStorage.setItem(KEPT, tokens.refreshToken);
    become({ user: arriving, ended: false });
  } else {
    sessionStorage.removeItem(KEPT);
    become({ user: null, ended: Boolean(session.user) && !leaving });
  }
});

/** Takes up the session that this tab had before it was loaded anew. */
export async function resume(): Promise<void> {
  const kept = sessionStorage.getItem(KEPT);
  if (kept !== null) {
    // A server that is away now may be back at the next request.
    await credentials.refresh(kept).catch(() => undefined);
  }
  if (session.user === undefined) {
    become({ user: null, ended: false });
  }
}

/** Begins a session with what signing in gave, or goes on with new tokens. */
export function enter({ user, tokens }: Pick<SignedInFragment, 'user' | 'tokens'>): void {
  if (user && tokens) {
    arriving = user;
    credentials.set(tokens);
  }
}

/** Forgets the session, as its user wishes. */
export function leave(): void {
  leaving = true;
  credentials.set(null);
  leaving = false;
}

/** The account has a new name, or a verified address. */
export function know(user: AccountFragment): void {
  if (session.user?.id === user.id) {
    become({ ...session, user });
  }
}

export function useSession(): Session {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => session,
  );
}

export function isStaff(user: Session['user']): boolean {
  return user?.role === 'STAFF' || user?.role === 'ADMIN';
}
