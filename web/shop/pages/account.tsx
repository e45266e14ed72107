import './account.css';

import { type FormEvent, useState } from 'react';
import { useClient, useQuery } from 'urql';

import { enter, know, leave, useSession } from '../api/session';
import {
  AskForVerificationDocument,
  ChangePasswordDocument,
  EndKeyDocument,
  EndSessionDocument,
  MakeKeyDocument,
  MyAccountDocument,
  type MyAccountQuery,
  type Scope,
  SignOutDocument,
} from '../gql/graphql';
import { Button } from '../ui/button';
import { Choose, Field, Tick } from '../ui/fields';
import { Form } from '../ui/form';
import { ago, day } from '../ui/format';
import { Sheet } from '../ui/overlay';
import { Complaints, Page } from '../ui/page';
import { none, type Problems, refused, sorted } from '../ui/problems';
import { Bone, Failure } from '../ui/states';
import { say } from '../ui/toasts';

type Me = NonNullable<MyAccountQuery['me']>;

export default function Account() {
  const [{ data, error }, again] = useQuery({ query: MyAccountDocument, requestPolicy: 'cache-and-network' });
  const me = data?.me;
  return (
    <Page title="Account" className="account">
      {error && !me ? (
        <Failure isPage error={error} retry={() => again({ requestPolicy: 'network-only' })} />
      ) : (
        <>
          <Identity me={me} />
          <div className="account-parts">
            <Sessions sessions={me?.sessions} />
            <Password />
            <Keys keys={me?.apiKeys} />
          </div>
        </>
      )}
    </Page>
  );
}

const ROLES = { CUSTOMER: 'Customer', STAFF: 'Staff', ADMIN: 'Administrator' } as const;

function Identity({ me }: { me: Me | null | undefined }) {
  const client = useClient();
  const { user } = useSession();
  const known = me ?? user;
  const ask = async () => {
    const { data, error } = await client.mutation(AskForVerificationDocument, {}).toPromise();
    const payload = data?.requestEmailVerification;
    say(
      payload?.accepted
        ? 'A letter with a link is on its way.'
        : ((error ? refused(error) : sorted(payload?.errors ?? [], [])).rest[0] ?? 'The letter was not sent.'),
      payload?.accepted ? {} : { tone: 'bad' },
    );
    if (me) {
      know(me);
    }
  };
  if (!known) {
    return null;
  }
  return (
    <header className="identity">
      <h1>{known.name ?? 'Your account'}</h1>
      <p>
        {known.email}
        <span className="badge">{ROLES[known.role]}</span>
        {known.emailVerified && <span className="badge badge-good">Address verified</span>}
      </p>
      <p className="soft">Here since {day(known.createdAt)}</p>
      {!known.emailVerified && (
        <p className="verify">
          This address is not verified yet.
          <Button onPress={() => void ask()}>Send me the link</Button>
        </p>
      )}
    </header>
  );
}

/** What a program calls itself, in a few words. */
function device(userAgent: string | null | undefined): string {
  if (!userAgent) {
    return 'Unknown program';
  }
  const browser = /(Edg|Firefox|Chrome|Safari)/.exec(userAgent)?.[1];
  const system = /(Windows|Android|iPhone|iPad|Mac OS X|Linux)/.exec(userAgent)?.[1];
  const names: Record<string, string> = { Edg: 'Edge', 'Mac OS X': 'macOS' };
  const named = (part: string) => names[part] ?? part;
  return browser && system ? `${named(browser)} on ${named(system)}` : (userAgent.split(/[ /(]/)[0] ?? userAgent);
}

function Sessions({ sessions }: { sessions: Me['sessions'] | undefined }) {
  const client = useClient();
  const end = async (session: NonNullable<Me['sessions']>[number]) => {
    if (session.current) {
      await client.mutation(SignOutDocument, { everywhere: false }).toPromise();
      leave();
      return;
    }
    const { data, error } = await client.mutation(EndSessionDocument, { id: session.id }).toPromise();
    const { rest } = error ? refused(error) : sorted(data?.revokeSession?.errors ?? [], []);
    say(rest[0] ?? `${device(session.userAgent)} is signed out.`, rest[0] ? { tone: 'bad' } : {});
  };
  const endAll = async () => {
    const { error } = await client.mutation(SignOutDocument, { everywhere: true }).toPromise();
    if (error) {
      say(refused(error).rest[0] ?? 'You are still signed in.', { tone: 'bad' });
    } else {
      leave();
    }
  };
  return (
    <section className="part" aria-labelledby="sessions">
      <h2 id="sessions">Where you are signed in</h2>
      <ul className="rows">
        {sessions?.map((session) => (
          <li key={session.id} className="row">
            <div>
              <strong>{device(session.userAgent)}</strong>
              {session.current && <span className="badge badge-good">This one</span>}
              <p className="soft">
                {session.address}, used {ago(session.lastUsedAt)}
              </p>
            </div>
            <Button
              onPress={() => void end(session)}
              aria-label={session.current ? 'Sign out here' : `Sign out ${device(session.userAgent)}`}
            >
              Sign out
            </Button>
          </li>
        )) ??
          [0, 1].map((index) => (
            <li key={index} className="row" aria-hidden="true">
              <div>
                <Bone className="bone-long" />
                <p>
                  <Bone className="bone-short" />
                </p>
              </div>
            </li>
          ))}
      </ul>
      <Button look="danger" onPress={() => void endAll()}>
        Sign out everywhere
      </Button>
    </section>
  );
}

function Password() {
  const client = useClient();
  const [problems, setProblems] = useState<Problems>(none);
  const [isSending, setSending] = useState(false);
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = event.currentTarget;
    const values = new FormData(form);
    setSending(true);
    setProblems(none);
    const { data, error } = await client
      .mutation(ChangePasswordDocument, {
        currentPassword: String(values.get('currentPassword')),
        newPassword: String(values.get('newPassword')),
      })
      .toPromise();
    setSending(false);
    const payload = data?.changePassword;
    if (payload?.tokens) {
      enter(payload);
      form.reset();
      say('The password is changed, and your other sessions have ended.');
    } else {
      setProblems(error ? refused(error) : sorted(payload?.errors ?? [], ['currentPassword', 'newPassword']));
    }
  };
  return (
    <section className="part" aria-labelledby="password">
      <h2 id="password">Password</h2>
      <Form problems={problems.fields} onSubmit={(event) => void submit(event)}>
        <Complaints of={problems.rest} />
        <Field label="Password until now" name="currentPassword" type="password" autoComplete="current-password" isRequired />
        <Field label="New password" name="newPassword" type="password" autoComplete="new-password" isRequired help="At least 8 characters." />
        <Button type="submit" isPending={isSending}>
          Change the password
        </Button>
      </Form>
    </section>
  );
}

const SCOPES: Record<Scope, string> = {
  CATALOG_READ: 'See the catalogue',
  CATALOG_WRITE: 'Change the catalogue',
  ACCOUNTS_READ: 'See accounts',
  ACCOUNTS_WRITE: 'Change accounts',
};

const TERMS = [
  { id: '30', label: '30 days' },
  { id: '365', label: 'A year' },
  { id: '', label: 'Until it is revoked' },
];

function Keys({ keys }: { keys: Me['apiKeys'] | undefined }) {
  const client = useClient();
  const { user } = useSession();
  const [isOpen, setOpen] = useState(false);
  const [secret, setSecret] = useState<string>();
  const [days, setDays] = useState('365');
  const [problems, setProblems] = useState<Problems>(none);
  // What nobody may do, no key of theirs may.
  const may: Scope[] =
    user?.role === 'ADMIN'
      ? ['CATALOG_READ', 'CATALOG_WRITE', 'ACCOUNTS_READ', 'ACCOUNTS_WRITE']
      : user?.role === 'STAFF'
        ? ['CATALOG_READ', 'CATALOG_WRITE']
        : ['CATALOG_READ'];
  const close = () => {
    setOpen(false);
    setSecret(undefined);
    setProblems(none);
  };
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const values = new FormData(event.currentTarget);
    const expiresAt = days === '' ? null : new Date(Date.now() + Number(days) * 86_400_000).toISOString();
    const scopes = values.getAll('scopes') as Scope[];
    const input = { name: String(values.get('name')), scopes, expiresAt };
    const { data, error } = await client.mutation(MakeKeyDocument, { input }).toPromise();
    const payload = data?.createApiKey;
    if (payload?.secret) {
      setSecret(payload.secret);
    } else {
      setProblems(error ? refused(error) : sorted(payload?.errors ?? [], ['name']));
    }
  };
  const end = async ({ id, name }: NonNullable<Me['apiKeys']>[number]) => {
    const { data, error } = await client.mutation(EndKeyDocument, { id }).toPromise();
    const { rest } = error ? refused(error) : sorted(data?.revokeApiKey?.errors ?? [], []);
    say(rest[0] ?? `The key ${name} works no more.`, rest[0] ? { tone: 'bad' } : {});
  };
  return (
    <section className="part part-wide" aria-labelledby="keys">
      <div className="part-top">
        <h2 id="keys">API keys</h2>
        <Button onPress={() => setOpen(true)}>Make a key</Button>
      </div>
      {keys?.length === 0 && <p className="soft">None yet. A key lets a program of yours use the API as you.</p>}
      <ul className="rows">
        {keys?.map((key) => (
          <li key={key.id} className="row">
            <div>
              <strong>{key.name}</strong> <code>{key.prefix}…</code>
              <p className="soft">
                {key.scopes.map((scope) => SCOPES[scope]).join(', ')}.{' '}
                {key.lastUsedAt ? `Used ${ago(key.lastUsedAt)}.` : 'Never used.'}{' '}
                {key.expiresAt ? `Ends ${day(key.expiresAt)}.` : ''}
              </p>
            </div>
            <Button onPress={() => void end(key)} aria-label={`Revoke ${key.name}`}>
              Revoke
            </Button>
          </li>
        ))}
      </ul>
      <Sheet title={secret ? 'The key, this once' : 'Make a key'} isOpen={isOpen} onClose={close}>
        {secret ? (
          <div className="form">
            <p>Copy it now: nobody can show it again.</p>
            <code className="secret">{secret}</code>
            <Button look="primary" onPress={() => void navigator.clipboard.writeText(secret).then(() => say('Copied.'))}>
              Copy
            </Button>
          </div>
        ) : (
          <Form problems={problems.fields} onSubmit={(event) => void submit(event)}>
            <Complaints of={problems.rest} />
            <Field label="What it is for" name="name" isRequired placeholder="The till in the front" />
            <fieldset className="choices">
              <legend>It may</legend>
              {may.map((scope) => (
                <ScopeTick key={scope} scope={scope} />
              ))}
            </fieldset>
            <Choose label="It lasts" choices={TERMS} value={days} onChange={setDays} />
            <Button look="primary" type="submit">
              Make the key
            </Button>
          </Form>
        )}
      </Sheet>
    </section>
  );
}

function ScopeTick({ scope }: { scope: Scope }) {
  const [isOn, setOn] = useState(scope === 'CATALOG_READ');
  return (
    <>
      <Tick isSelected={isOn} onChange={setOn}>
        {SCOPES[scope]}
      </Tick>
      {isOn && <input type="hidden" name="scopes" value={scope} />}
    </>
  );
}
