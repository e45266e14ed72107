import { type ReactNode, useEffect, useState } from 'react';
import { Button as AriaButton, Input, Menu, MenuItem, MenuTrigger, Popover, SearchField } from 'react-aria-components';
import { useClient } from 'urql';
import { Link, useLocation, useSearchParams } from 'wouter';

import { isStaff, leave, useSession } from './api/session';
import { SignOutDocument } from './gql/graphql';
import { Icon } from './ui/icons';

/** How long someone may pause between two letters. */
const TYPING_MS = 200;

export function Frame({ children }: { children: ReactNode }) {
  return (
    <>
      <a className="skip" href="#main">
        Skip to the content
      </a>
      <header className="top">
        <Link className="wordmark" href="/">
          <svg viewBox="0 0 32 32" aria-hidden="true" focusable="false">
            <path className="mark-ground" d="M0 0h32v32H0z" />
            <path className="mark-shelf" d="M5 14h22v2.400H5zM5 25h22v2.400H5z" />
            <path className="mark-box" d="M7 6h8v8H7zM17 9h8v5h-8zM7 19h6v6H7zM15 17h10v8H15z" />
          </svg>
          Stockroom
        </Link>
        <Search />
        <Viewer />
      </header>
      {children}
      <footer className="foot">
        <p>Prices and stock on this page are the stockroom’s own, this second.</p>
        <nav aria-label="For developers">
          <a href="/graphiql">GraphiQL</a>
          <a href="/schema.graphql">Schema</a>
        </nav>
      </footer>
    </>
  );
}

/** Searches while it is typed in, on the shop's front; elsewhere with the Enter key. */
function Search() {
  const [path, navigate] = useLocation();
  const [parameters, setParameters] = useSearchParams();
  const asked = path === '/' ? (parameters.get('q') ?? '') : '';
  const [text, setText] = useState(asked);
  useEffect(() => setText(asked), [asked]);

  useEffect(() => {
    if (path !== '/' || text === asked) {
      return undefined;
    }
    const pause = setTimeout(() => {
      setParameters(
        (before) => {
          const after = new URLSearchParams(before);
          after.delete('page');
          after.delete('q');
          if (text.trim() !== '') {
            after.set('q', text);
          }
          return after;
        },
        { replace: true },
      );
    }, TYPING_MS);
    return () => clearTimeout(pause);
  }, [text, asked, path, setParameters]);

  return (
    <SearchField
      className="search"
      aria-label="Search the shop"
      value={text}
      onChange={setText}
      onSubmit={(query) => path !== '/' && navigate(query.trim() === '' ? '/' : `/?q=${encodeURIComponent(query)}`)}
    >
      <Icon name="search" />
      <Input placeholder="Oak chair, DES-000123…" />
      <AriaButton className="search-clear" aria-label="Clear the search">
        <Icon name="close" />
      </AriaButton>
    </SearchField>
  );
}

function Viewer() {
  const { user } = useSession();
  const client = useClient();
  const [path, navigate] = useLocation();
  if (user === undefined) {
    return <div className="viewer" />;
  }
  if (user === null) {
    const next = path === '/' || path.startsWith('/sign-in') || path.startsWith('/register') ? '' : `?next=${encodeURIComponent(path)}`;
    return (
      <div className="viewer">
        <Link className="button button-plain" href={`/sign-in${next}`}>
          Sign in
        </Link>
      </div>
    );
  }
  const signOut = async () => {
    await client.mutation(SignOutDocument, { everywhere: false }).toPromise();
    leave();
    navigate('/');
  };
  return (
    <div className="viewer">
      {isStaff(user) && (
        <Link className="viewer-staff" href="/staff">
          Catalogue
        </Link>
      )}
      <MenuTrigger>
        <AriaButton className="button button-plain viewer-button" aria-label={`Account of ${user.name ?? user.email}`}>
          <Icon name="person" />
          <span>{user.name ?? user.email}</span>
        </AriaButton>
        <Popover className="popover" placement="bottom end" offset={6}>
          <Menu className="menu" aria-label="Account">
            <MenuItem href="/account">Account</MenuItem>
            {isStaff(user) && <MenuItem href="/staff">Catalogue</MenuItem>}
            {isStaff(user) && <MenuItem href="/staff/categories">Categories</MenuItem>}
            <MenuItem onAction={() => void signOut()}>Sign out</MenuItem>
          </Menu>
        </Popover>
      </MenuTrigger>
    </div>
  );
}
