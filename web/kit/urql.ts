// From `stockroom client-kit`, which writes it anew: keep what is yours elsewhere.
import type { Exchange, OperationContext } from '@urql/core';
import { authExchange } from '@urql/exchange-auth';

import { type Credentials, isUnauthenticated } from './credentials';

/** The token that a request was sent with. */
function tokenOf({ fetchOptions }: OperationContext): string | null {
  const headers = (fetchOptions as { headers?: Record<string, string> } | undefined)?.headers;
  return headers?.authorization?.replace('Bearer ', '') ?? null;
}

/** Sends the access token with every request, and renews it when it is about to end or is refused. */
export function authentication(credentials: Credentials): Exchange {
  let refused: string | null = null;
  return authExchange(async (utilities) => ({
    addAuthToOperation: (operation) => {
      const token = credentials.current?.accessToken;
      return token === undefined ? operation : utilities.appendHeaders(operation, { authorization: `Bearer ${token}` });
    },
    willAuthError: () => credentials.current !== null && !credentials.isFresh(),
    didAuthError: (error, { context }) => {
      if (credentials.current === null || !isUnauthenticated(error.graphQLErrors)) {
        return false;
      }
      refused = tokenOf(context);
      return true;
    },
    refreshAuth: async () => {
      // Without a network the request itself will tell.
      await (credentials.isFresh() ? credentials.successorOf(refused) : credentials.refresh()).catch(() => null);
    },
  }));
}
