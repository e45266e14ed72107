import { lazy, type ReactNode, Suspense, useEffect, useMemo, useRef } from 'react';
import { RouterProvider } from 'react-aria-components';
import { Provider } from 'urql';
import { Redirect, Route, Switch, useLocation, useSearch } from 'wouter';

import { createShopClient, useLiveness } from './api/client';
import { isStaff, useSession } from './api/session';
import { Frame } from './frame';
import { ProductPage } from './pages/product';
import { Storefront } from './pages/storefront';
import { Empty } from './ui/states';
import { Page } from './ui/page';
import { say, Toasts } from './ui/toasts';

const accounts = () => import('./pages/accounts');
const SignIn = lazy(async () => ({ default: (await accounts()).SignIn }));
const Register = lazy(async () => ({ default: (await accounts()).Register }));
const ForgotPassword = lazy(async () => ({ default: (await accounts()).ForgotPassword }));
const ResetPassword = lazy(async () => ({ default: (await accounts()).ResetPassword }));
const VerifyEmail = lazy(async () => ({ default: (await accounts()).VerifyEmail }));
const Account = lazy(() => import('./pages/account'));
const Catalogue = lazy(() => import('./staff/catalogue'));
const Sheet = lazy(() => import('./staff/sheet'));
const Categories = lazy(() => import('./staff/categories'));

export function App() {
  const { user, ended } = useSession();
  const viewer = user?.id;
  // Another viewer sees another shop: nothing of one is left in the other's cache.
  const shop = useMemo(() => createShopClient(), [viewer]);
  useEffect(() => shop.dispose, [shop]);
  useEffect(() => {
    if (ended) {
      say('You were signed out: this session was ended.', { timeout: 15_000 });
    }
  }, [ended]);
  const [, navigate] = useLocation();

  return (
    <RouterProvider navigate={(path) => navigate(path)}>
      <Provider value={shop.client}>
        <Arrivals />
        <Frame>
          {user === undefined ? (
            <Page className="page-waiting">{null}</Page>
          ) : (
            <Suspense fallback={<Page className="page-waiting">{null}</Page>}>
              <Switch>
                <Route path="/" component={Storefront} />
                <Route path="/product/:slug">{({ slug }) => <ProductPage slug={decodeURIComponent(slug)} />}</Route>
                <Route path="/sign-in" component={SignIn} />
                <Route path="/register" component={Register} />
                <Route path="/forgot-password" component={ForgotPassword} />
                <Route path="/reset-password" component={ResetPassword} />
                <Route path="/verify-email" component={VerifyEmail} />
                <Route path="/account">
                  <SignedIn>
                    <Account />
                  </SignedIn>
                </Route>
                <Route path="/staff">
                  <SignedIn staff>
                    <Catalogue />
                  </SignedIn>
                </Route>
                <Route path="/staff/categories">
                  <SignedIn staff>
                    <Categories />
                  </SignedIn>
                </Route>
                <Route path="/staff/new">
                  <SignedIn staff>
                    <Sheet />
                  </SignedIn>
                </Route>
                <Route path="/staff/product/:id">
                  {({ id }) => (
                    <SignedIn staff>
                      <Sheet key={id} id={decodeURIComponent(id)} />
                    </SignedIn>
                  )}
                </Route>
                <Route>
                  <Page title="Not here">
                    <Empty isPage title="There is nothing at this address">
                      <a href="/">To the shop</a>
                    </Empty>
                  </Page>
                </Route>
              </Switch>
            </Suspense>
          )}
        </Frame>
        <Toasts />
        <Liveness />
      </Provider>
    </RouterProvider>
  );
}

/** Pages for those who are signed in; others sign in first, and come back. */
function SignedIn({ staff = false, children }: { staff?: boolean; children: ReactNode }) {
  const { user } = useSession();
  const [path] = useLocation();
  const search = useSearch();
  if (!user) {
    return <Redirect to={`/sign-in?next=${encodeURIComponent(search ? `${path}?${search}` : path)}`} replace />;
  }
  if (staff && !isStaff(user)) {
    return (
      <Page title="For the staff">
        <Empty isPage title="This part is for the staff" drawing="standing desk">
          <p>You are signed in as {user.email}. Sign in with a staff account to keep the catalogue.</p>
        </Empty>
      </Page>
    );
  }
  return children;
}

/** A new page begins at its top, for eyes and for screen readers. */
function Arrivals() {
  const [path] = useLocation();
  const known = useRef(path);
  useEffect(() => {
    if (known.current !== path) {
      known.current = path;
      window.scrollTo(0, 0);
      document.getElementById('main')?.focus({ preventScroll: true });
    }
  }, [path]);
  return null;
}

function Liveness() {
  const isLive = useLiveness();
  return (
    <div className="liveness" role="status">
      {!isLive && <p>No connection to the stockroom. What you see may be old; we keep trying.</p>}
    </div>
  );
}
