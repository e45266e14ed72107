import type { GraphiQLPlugin } from '@graphiql/react';
import { type FormEvent, useState } from 'react';

import { signIn, signOut, useUser } from './session';

function Content() {
  const user = useUser();
  const [problem, setProblem] = useState<string>();
  const [isSending, setSending] = useState(false);
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const values = new FormData(event.currentTarget);
    setSending(true);
    setProblem(await signIn(String(values.get('email')), String(values.get('password'))));
    setSending(false);
  };
  if (user) {
    return (
      <section className="account" aria-label="Account">
        <h2>{user.name ?? user.email}</h2>
        <p>
          {user.email}
          <br />
          {user.role}
        </p>
        <p>Every request carries the access token, which renews itself until this page is closed.</p>
        <button className="account-button" type="button" onClick={() => void signOut()}>
          Sign out
        </button>
      </section>
    );
  }
  return (
    <section className="account" aria-label="Account">
      <h2>Sign in</h2>
      <form onSubmit={(event) => void submit(event)}>
        <label>
          E-mail address
          <input name="email" type="email" autoComplete="username" required />
        </label>
        <label>
          Password
          <input name="password" type="password" autoComplete="current-password" required />
        </label>
        {problem !== undefined && (
          <p className="account-problem" role="alert">
            {problem}
          </p>
        )}
        <button className="account-button" type="submit" disabled={isSending}>
          Sign in
        </button>
      </form>
      <p>Tokens stay in memory: a reload forgets them.</p>
    </section>
  );
}

function Icon() {
  const user = useUser();
  return (
    <svg viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth="1.6" aria-hidden="true">
      <path d="M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM4.500 20c.8-3.600 3.800-5.500 7.500-5.500s6.700 1.900 7.500 5.500" />
      {user && <circle cx="19" cy="6" r="3" fill="currentColor" stroke="none" />}
    </svg>
  );
}

/** Signs in and out, and shows who is signed in. */
export const accountPlugin: GraphiQLPlugin = { title: 'Account', icon: Icon, content: Content };
