import type { Exchange, OperationResult } from '@urql/core';
import { authExchange } from '@urql/exchange-auth';

export interface Tokens {
  accessToken: string;
  accessTokenExpiresAt: string;
  refreshToken: string;
  refreshTokenExpiresAt: string;
}

/** A token that ends sooner than this is renewed first. */
const MARGIN_MS = 30_000;

/**
 * The tokens of one session. However many requests find them too old, one renews them, and the others wait for it.
 * They are in memory alone: who wants to find them again after a reload keeps the refresh token by `changed`.
 */
export class Credentials {
  #tokens: Tokens | null = null;
  #renewal: Promise<Tokens | null> | null = null;

  /**
   * @param renew asks the server for new tokens: null if it refuses. It throws if nobody can be asked now.
   * @param changed is told of new tokens, and of the end of the session: null.
   */
  constructor(
    private readonly renew: (refreshToken: string) => Promise<Tokens | null>,
    private readonly changed: (tokens: Tokens | null) => void,
  ) {}

  get current(): Tokens | null {
    return this.#tokens;
  }

  set(tokens: Tokens | null): void {
    this.#tokens = tokens;
    this.changed(tokens);
  }

  isFresh(): boolean {
    return this.#tokens !== null && Date.parse(this.#tokens.accessTokenExpiresAt) - Date.now() > MARGIN_MS;
  }

  /** An access token that will be good for a while; null for strangers. */
  async accessToken(): Promise<string | null> {
    if (this.#tokens === null || this.isFresh()) {
      return this.#tokens?.accessToken ?? null;
    }
    return (await this.refresh())?.accessToken ?? null;
  }

  /** New tokens for these, or for those of a session that is taken up again. */
  refresh(refreshToken = this.#tokens?.refreshToken): Promise<Tokens | null> {
    if (refreshToken === undefined) {
      return Promise.resolve(null);
    }
    this.#renewal ??= this.renew(refreshToken)
      .then((tokens) => {
        // Whoever signed out or in meanwhile has the last word.
        if (this.#tokens === null || this.#tokens.refreshToken === refreshToken) {
          this.set(tokens);
        }
        return this.#tokens;
      })
      .finally(() => {
        this.#renewal = null;
      });
    return this.#renewal;
  }
}

/** Sends the access token with every request, and renews it when it is about to end or is refused. */
export function authentication(credentials: Credentials): Exchange {
  return authExchange(async (utilities) => ({
    addAuthToOperation: (operation) => {
      const token = credentials.current?.accessToken;
      return token === undefined ? operation : utilities.appendHeaders(operation, { authorization: `Bearer ${token}` });
    },
    willAuthError: () => credentials.current !== null && !credentials.isFresh(),
    didAuthError: (error) =>
      credentials.current !== null &&
      error.graphQLErrors.some(({ extensions }) => extensions?.code === 'UNAUTHENTICATED'),
    refreshAuth: async () => {
      // Without a network the request itself will tell.
      await credentials.refresh().catch(() => null);
    },
  }));
}

/** Whether an answer says that nobody is signed in. */
export function isUnauthenticated(result: Pick<OperationResult, 'error'>): boolean {
  return result.error?.graphQLErrors.some(({ extensions }) => extensions?.code === 'UNAUTHENTICATED') ?? false;
}
