// From `stockroom client-kit`, which writes it anew: keep what is yours elsewhere.

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
    private readonly changed: (tokens: Tokens | null) => void = () => {},
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

  /** The access token after one that was refused: another request may have brought it already. */
  async successorOf(refused: string | null): Promise<string | null> {
    const current = this.#tokens?.accessToken ?? null;
    return current === refused ? ((await this.refresh())?.accessToken ?? null) : current;
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

const REFRESH = `mutation Refresh($refreshToken: String!) {
  refreshTokens(refreshToken: $refreshToken) {
    tokens { accessToken accessTokenExpiresAt refreshToken refreshTokenExpiresAt }
    errors { ... on UserError { code } }
  }
}`;

interface Refreshed {
  data?: { refreshTokens?: { tokens: Tokens | null; errors: { code?: string }[] } | null };
}

/** Asks the server at this address for new tokens: what {@link Credentials} are made with. */
export function renewal(url: string): (refreshToken: string) => Promise<Tokens | null> {
  return async (refreshToken) => {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/graphql-response+json' },
      body: JSON.stringify({ query: REFRESH, variables: { refreshToken } }),
    });
    const answer = ((await response.json()) as Refreshed).data?.refreshTokens;
    // Whoever gets no answer, or one only later, is signed in still.
    if (!answer || answer.errors.some(({ code }) => code === 'LOGIN_DELAYED')) {
      throw new Error('there are no new tokens yet');
    }
    return answer.tokens;
  };
}

/** What a socket of graphql-ws says first. */
export function connectionParams(credentials: Credentials): () => Promise<Record<string, unknown>> {
  return async () => {
    const token = await credentials.accessToken().catch(() => null);
    return token === null ? {} : { authorization: `Bearer ${token}` };
  };
}

/** Whether one of these errors says that nobody is signed in. */
export function isUnauthenticated(errors: readonly { extensions?: Record<string, unknown> }[] | undefined): boolean {
  return errors?.some(({ extensions }) => extensions?.code === 'UNAUTHENTICATED') ?? false;
}
