import { type ReactNode, useEffect, useRef } from 'react';
import type { CombinedError } from 'urql';

import { useLiveness } from '../api/client';
import { Drawing } from '../art/art';
import { Button } from './button';

interface StateProps {
  title: string;
  /** There is nothing else on the page. */
  isPage?: boolean;
  children?: ReactNode;
  drawing?: string;
}

/** There is nothing to show, and this is why. */
export function Empty({ title, isPage = false, children, drawing = 'parcel' }: StateProps) {
  const Heading = isPage ? 'h1' : 'h2';
  return (
    <div className="state">
      <Drawing of={drawing} />
      <Heading>{title}</Heading>
      {children}
    </div>
  );
}

/** What went wrong, in words for whoever looks at the page. */
export function explain(error: CombinedError): string {
  if (error.networkError && !error.response) {
    return 'The stockroom cannot be reached right now.';
  }
  const [first] = error.graphQLErrors;
  const code = first?.extensions?.code;
  if (code === 'RATE_LIMITED') {
    return 'That was too much at once. Wait a moment, then try again.';
  }
  return first && code !== 'INTERNAL_SERVER_ERROR' ? `${first.message}.` : 'Something broke on our side.';
}

/** A read failed. It is tried again as soon as the server is back. */
export function Failure({ error, retry, isPage = false }: { error: CombinedError; retry: () => void; isPage?: boolean }) {
  const Heading = isPage ? 'h1' : 'h2';
  const isLive = useLiveness();
  const wasLive = useRef(isLive);
  useEffect(() => {
    if (isLive && !wasLive.current) {
      retry();
    }
    wasLive.current = isLive;
  }, [isLive, retry]);
  return (
    <div className="state" role="alert">
      <Drawing of="folding table" />
      <Heading>This did not load</Heading>
      <p>{explain(error)}</p>
      <Button look="primary" onPress={retry}>
        Try again
      </Button>
    </div>
  );
}

/** Takes the place of a text that is on its way. */
export function Bone({ className = '' }: { className?: string }) {
  return <span className={`bone ${className}`} aria-hidden="true" />;
}
