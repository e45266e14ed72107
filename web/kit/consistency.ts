// From `stockroom client-kit`, which writes it anew: keep what is yours elsewhere.

const HEADER = 'x-consistency-token';

/**
 * A `fetch` that shows with each request what its mutations were told, so that what is read has seen what they did: on
 * whichever instance or replica, and also where answers may be somewhat old. Make one for each client.
 */
export function consistent(plain: typeof fetch = (...given) => fetch(...given)): typeof fetch {
  let token: string | null = null;
  return async (input, init) => {
    const headers = new Headers(init?.headers);
    if (token !== null) {
      headers.set(HEADER, token);
    }
    const response = await plain(input, { ...init, headers });
    token = response.headers.get(HEADER) ?? token;
    return response;
  };
}
