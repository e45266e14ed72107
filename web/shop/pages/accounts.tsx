import { type FormEvent, type ReactNode, useEffect, useRef, useState } from 'react';
import { type OperationResult, useClient } from 'urql';
import { Link, Redirect, useLocation, useSearchParams } from 'wouter';

import { enter, know, useSession } from '../api/session';
import { Drawing } from '../art/art';
import {
  AskForPasswordResetDocument,
  RegisterDocument,
  ResetPasswordDocument,
  type SignedInFragment,
  SignInDocument,
  VerifyEmailDocument,
} from '../gql/graphql';
import { Button } from '../ui/button';
import { Field } from '../ui/fields';
import { Form } from '../ui/form';
import { Complaints, Page } from '../ui/page';
import { none, type Problems, refused, sorted } from '../ui/problems';

/** The texts of a form, by their fields' names. */
function texts(event: FormEvent<HTMLFormElement>): Record<string, string> {
  event.preventDefault();
  return Object.fromEntries([...new FormData(event.currentTarget)].map(([name, value]) => [name, String(value)]));
}

/** Only addresses of this shop are gone back to. */
function next(parameters: URLSearchParams): string {
  const wanted = parameters.get('next') ?? '/';
  return /^\/(?![/\\])/.test(wanted) ? wanted : '/';
}

function Desk({ title, drawing, children }: { title: string; drawing: string; children: ReactNode }) {
  return (
    <Page title={title} className="desk">
      <div className="desk-art hue-1" aria-hidden="true">
        <Drawing of={drawing} tags={['brass', 'terracotta']} />
      </div>
      <div className="desk-form">
        <h1>{title}</h1>
        {children}
      </div>
    </Page>
  );
}

/** A form that leads into a session. */
function Entry<Data>({ send, answer, fields, action, children }: {
  send: (values: Record<string, string>) => Promise<OperationResult<Data>>;
  answer: (data: Data) => SignedInFragment | null | undefined;
  fields: readonly string[];
  action: string;
  children: ReactNode;
}) {
  const [problems, setProblems] = useState<Problems>(none);
  const [isSending, setSending] = useState(false);
  const [parameters] = useSearchParams();
  const [, navigate] = useLocation();
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    const values = texts(event);
    setSending(true);
    setProblems(none);
    const { data, error } = await send(values);
    setSending(false);
    const payload = data && answer(data);
    if (payload?.tokens) {
      enter(payload);
      navigate(next(parameters), { replace: true });
    } else {
      setProblems(error ? refused(error) : sorted(payload?.errors ?? [], fields));
    }
  };
  return (
    <Form problems={problems.fields} onSubmit={(event) => void submit(event)}>
      <Complaints of={problems.rest} />
      {children}
      <Button look="primary" type="submit" isPending={isSending}>
        {action}
      </Button>
    </Form>
  );
}

/** Those who are signed in have no business here. */
function useIsAway(): boolean {
  const { user } = useSession();
  return Boolean(user);
}

export function SignIn() {
  const client = useClient();
  const [parameters] = useSearchParams();
  if (useIsAway()) {
    return <Redirect to={next(parameters)} replace />;
  }
  return (
    <Desk title="Sign in" drawing="desk lamp">
      <Entry
        action="Sign in"
        fields={['email', 'password']}
        send={({ email = '', password = '' }) => client.mutation(SignInDocument, { input: { email, password } }).toPromise()}
        answer={(data) => data.login}
      >
        <Field label="E-mail address" name="email" type="email" autoComplete="username" isRequired />
        <Field label="Password" name="password" type="password" autoComplete="current-password" isRequired />
      </Entry>
      <p className="aside">
        <Link href="/forgot-password">Forgotten the password?</Link>
      </p>
      <p className="aside">
        New here? <Link href={`/register?${parameters}`}>Open an account</Link>
      </p>
    </Desk>
  );
}

const PASSWORD_HELP = 'At least 8 characters. A few words together are easy to keep and hard to guess.';

export function Register() {
  const client = useClient();
  const [parameters] = useSearchParams();
  if (useIsAway()) {
    return <Redirect to={next(parameters)} replace />;
  }
  return (
    <Desk title="Open an account" drawing="secretary">
      <Entry
        action="Open the account"
        fields={['name', 'email', 'password']}
        send={({ name, email = '', password = '' }) =>
          client.mutation(RegisterDocument, { input: { email, password, name: name || null } }).toPromise()
        }
        answer={(data) => data.register}
      >
        <Field label="Name" name="name" autoComplete="name" help="What we call you. You may leave it out." />
        <Field label="E-mail address" name="email" type="email" autoComplete="username" isRequired />
        <Field label="Password" name="password" type="password" autoComplete="new-password" isRequired help={PASSWORD_HELP} />
      </Entry>
      <p className="aside">
        Have one already? <Link href={`/sign-in?${parameters}`}>Sign in</Link>
      </p>
    </Desk>
  );
}

export function ForgotPassword() {
  const client = useClient();
  const [sentTo, setSentTo] = useState<string>();
  const [problems, setProblems] = useState<Problems>(none);
  const [isSending, setSending] = useState(false);
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    const { email = '' } = texts(event);
    setSending(true);
    const { data, error } = await client.mutation(AskForPasswordResetDocument, { email }).toPromise();
    setSending(false);
    if (data?.requestPasswordReset?.accepted) {
      setSentTo(email);
    } else {
      setProblems(error ? refused(error) : sorted(data?.requestPasswordReset?.errors ?? [], ['email']));
    }
  };
  if (sentTo !== undefined) {
    return (
      <Desk title="Look into your mail" drawing="letter tray">
        <p>
          If {sentTo} has an account here, a letter with a link is on its way. The link works once, and not for long.
        </p>
        <p className="aside">
          <Link href="/sign-in">Back to signing in</Link>
        </p>
      </Desk>
    );
  }
  return (
    <Desk title="A new password" drawing="fountain pen">
      <p>Tell us your address, and we send you a link that sets a new password.</p>
      <Form problems={problems.fields} onSubmit={(event) => void submit(event)}>
        <Complaints of={problems.rest} />
        <Field label="E-mail address" name="email" type="email" autoComplete="username" isRequired />
        <Button look="primary" type="submit" isPending={isSending}>
          Send the link
        </Button>
      </Form>
    </Desk>
  );
}

/** A token in the address is a secret: it is taken out of the history at once. */
function useToken(): string | null {
  const [parameters] = useSearchParams();
  const [token] = useState(() => parameters.get('token'));
  useEffect(() => {
    window.history.replaceState(null, '', window.location.pathname);
  }, []);
  return token;
}

export function ResetPassword() {
  const client = useClient();
  const token = useToken();
  if (token === null) {
    return <Redirect to="/forgot-password" replace />;
  }
  return (
    <Desk title="Set a new password" drawing="fountain pen">
      <p>It ends all your sessions on other devices.</p>
      <Entry
        action="Set the password"
        fields={['newPassword']}
        send={({ newPassword = '' }) => client.mutation(ResetPasswordDocument, { token, newPassword }).toPromise()}
        answer={(data) => data.resetPassword}
      >
        <Field label="New password" name="newPassword" type="password" autoComplete="new-password" isRequired help={PASSWORD_HELP} />
      </Entry>
      <p className="aside">
        Does the link not work? <Link href="/forgot-password">Ask for another</Link>
      </p>
    </Desk>
  );
}

export function VerifyEmail() {
  const client = useClient();
  const token = useToken();
  const [answer, setAnswer] = useState<{ verified: boolean; words: string }>();
  const asked = useRef(false);
  useEffect(() => {
    // A link works once; React may run an effect twice.
    if (token === null || asked.current) {
      return;
    }
    asked.current = true;
    void client
      .mutation(VerifyEmailDocument, { token })
      .toPromise()
      .then(({ data, error }) => {
        const payload = data?.verifyEmail;
        if (payload?.user) {
          know(payload.user);
          setAnswer({ verified: true, words: `${payload.user.email} is yours. Thank you.` });
        } else {
          const { rest } = error ? refused(error) : sorted(payload?.errors ?? [], []);
          setAnswer({ verified: false, words: rest[0] ?? 'The link does not work any more.' });
        }
      });
  }, [client, token]);
  if (token === null) {
    return <Redirect to="/account" replace />;
  }
  return (
    <Desk title={answer?.verified === false ? 'This link does not work' : 'Your address'} drawing="letter tray">
      <p role="status">{answer?.words ?? 'One moment…'}</p>
      {answer && (
        <p className="aside">
          <Link href={answer.verified ? '/' : '/account'}>{answer.verified ? 'To the shop' : 'Ask for another in your account'}</Link>
        </p>
      )}
    </Desk>
  );
}
