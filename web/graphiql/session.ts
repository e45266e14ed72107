// Who is signed in here. Tokens are in memory alone: a reload forgets them.
import { useSyncExternalStore } from 'react';

import { Credentials, renewal, type Tokens } from '../kit/credentials';

export interface User {
  name: string | null;
  email: string;
  role: string;
}

interface Answer {
  user: User | null;
  tokens: Tokens | null;
  errors: { code: string; message: string }[];
}

const LOGIN = `mutation($input: LoginInput!) {
  login(input: $input) {
    user { name email role }
    tokens { accessToken accessTokenExpiresAt refreshToken refreshTokenExpiresAt }
    errors { ... on UserError { code message } }
  }
}`;
const LOGOUT = 'mutation { logout { revoked } }';
const ME = '{ me { name email role } }';

/** Renewed so long before it ends. */
const MARGIN_MS = 45_000;

let user: User | null = null;
/** When the tokens are renewed. */
let next: ReturnType<typeof setTimeout> | undefined;
const listeners = new Set<() => void>();

function become(next: User | null): void {
  user = next;
  listeners.forEach((listener) => listener());
}

export function useUser(): User | null {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => user,
  );
}

async function ask<Data>(query: string, variables: object = {}, token?: string): Promise<Data> {
  const response = await fetch('/graphql', {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/graphql-response+json',
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = (await response.json()) as { data?: Data; errors?: { message: string }[] };
  if (!data) {
    throw new Error(errors?.[0]?.message ?? 'There was no answer.');
  }
  return data;
}

export const credentials = new Credentials(renewal('/graphql'), (tokens) => {
  clearTimeout(next);
  if (tokens) {
    const left = Date.parse(tokens.accessTokenExpiresAt) - Date.now();
    next = setTimeout(() => void credentials.refresh().catch(() => undefined), Math.max(left - MARGIN_MS, 1000));
  } else {
    become(null);
  }
});

/** Signs in, or says why not. */
export async function signIn(email: string, password: string): Promise<string | undefined> {
  try {
    const { login } = await ask<{ login: Answer }>(LOGIN, { input: { email, password } });
    if (login.tokens) {
      credentials.set(login.tokens);
      become(login.user);
      return undefined;
    }
    return login.errors[0]?.message ?? 'Nobody was signed in.';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

export async function signOut(): Promise<void> {
  const token = credentials.current?.accessToken;
  credentials.set(null);
  await ask(LOGOUT, {}, token).catch(() => undefined);
}

/** Takes over whom an operation in an editor has signed in. */
export async function adopt(data: unknown): Promise<void> {
  if (typeof data !== 'object' || data === null) {
    return;
  }
  for (const payload of Object.values(data) as { tokens?: Partial<Tokens> | null }[]) {
    const tokens = payload?.tokens;
    if (tokens?.accessToken && tokens.accessTokenExpiresAt && tokens.refreshToken) {
      credentials.set(tokens as Tokens);
      const { me } = await ask<{ me: User | null }>(ME, {}, tokens.accessToken);
      become(me);
    }
  }
}
