// The server knows the shop's documents, as it was built with them: a request names one by its hash. Another release
// of the server may not know it, and is then sent the document.
import { type Exchange, makeOperation, type Operation, type OperationResult } from '@urql/core';
import { filter, makeSubject, map, merge, pipe, share, tap } from 'wonka';

interface Named {
  __meta__?: { hash?: string };
}

/** The hash of an operation's document; none where a dev server may be newer than the API. */
export function documentId(document: object): string | undefined {
  return import.meta.env.DEV ? undefined : (document as Named).__meta__?.hash;
}

const isUnknown = (result: OperationResult): boolean =>
  result.error?.graphQLErrors.some(({ extensions }) => extensions?.code === 'DOCUMENT_NOT_TRUSTED') ?? false;

export const documents: Exchange = ({ forward }) => {
  const whole = new Map<number, Operation>();
  const again = makeSubject<Operation>();

  function named(operation: Operation): Operation {
    const id = operation.kind === 'teardown' ? undefined : documentId(operation.query);
    if (id === undefined) {
      return operation;
    }
    whole.set(operation.key, operation);
    const query = { ...operation.query, definitions: [], documentId: id };
    return makeOperation(operation.kind, { ...operation, query }, operation.context);
  }

  return (operations) => {
    const results = pipe(merge([pipe(operations, map(named)), again.source]), forward, share);
    return pipe(
      results,
      map((result) => ({ ...result, operation: whole.get(result.operation.key) ?? result.operation })),
      tap((result) => {
        if (isUnknown(result)) {
          again.next(result.operation);
        }
      }),
      filter((result) => !isUnknown(result)),
    );
  };
};
