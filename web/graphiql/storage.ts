// GraphiQL keeps tabs and history in localStorage. Its history also remembers
// the request headers of every run, even when headers are not to be persisted,
// and those carry access tokens. This storage lets everything through but them.
const NAMESPACE = 'graphiql:';

function ownKeys(): string[] {
  return Object.keys(localStorage).filter((key) => key.startsWith(NAMESPACE));
}

function withoutHeaders(value: string): string {
  try {
    return JSON.stringify(
      JSON.parse(value, (key, part: unknown) =>
        key === 'headers' ? undefined : part,
      ),
    );
  } catch {
    return value;
  }
}

export const storage = {
  get length(): number {
    return ownKeys().length;
  },
  getItem(key: string): string | null {
    return localStorage.getItem(key);
  },
  setItem(key: string, value: string): void {
    switch (key) {
      case `${NAMESPACE}headers`:
        return;
      case `${NAMESPACE}queries`:
      case `${NAMESPACE}favorites`:
        localStorage.setItem(key, withoutHeaders(value));
        return;
      default:
        localStorage.setItem(key, value);
    }
  },
  removeItem(key: string): void {
    localStorage.removeItem(key);
  },
  clear(): void {
    for (const key of ownKeys()) {
      localStorage.removeItem(key);
    }
  },
};
