// What a customer does in the shop, from the first look to the last sign-out.

import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';

import { Api, assertAccessible, assertSeenWithinASecond, signIn, story } from './browser.mjs';

const COUNT = 30;

await story('customer.mjs URL STAFF_EMAIL STAFF_PASSWORD OUTBOX', 4, 15, async (story, url, email, password, outbox) => {
  const api = await new Api(story.origin).signIn(email, password);
  await api.stock(COUNT);
  const page = await story.window();
  const main = page.getByRole('main');
  const cards = main.getByRole('list', { name: 'Products' }).getByRole('listitem');
  const customer = { email: `customer-${Date.now()}@stockroom.test`, password: 'purple envelope ladder' };

  await story.check('The storefront shows its aisles and the newest products, a page at a time.', async () => {
    await page.goto('/');
    await main.getByText(`${COUNT} products`).waitFor();
    assert.equal(await cards.count(), 24);
    await main.getByRole('navigation', { name: 'Aisles' }).getByRole('link', { name: 'Lighting' }).waitFor();
    await main.getByRole('button', { name: 'Show 24 more' }).click();
    await cards.nth(COUNT - 1).waitFor();
    assert.equal(await cards.count(), COUNT);
    await assertAccessible(page, 'storefront');
  });
  await story.check('Pages have numbers and addresses.', async () => {
    await page.goto('/');
    await main.getByRole('link', { name: 'Page 2' }).click();
    await page.waitForURL('/?page=2');
    await cards.nth(5).waitFor();
    await page.waitForFunction(() => document.querySelectorAll('.goods > .card h3 a').length === 6);
    await page.reload();
    await page.waitForFunction(() => document.querySelectorAll('.goods > .card h3 a').length === 6);
  });
  await story.check('The search finds while it is typed, by name and by part of a SKU.', async () => {
    await page.goto('/');
    const search = page.getByRole('searchbox', { name: 'Search the shop' });
    await search.pressSequentially('lamp');
    await main.getByText(`${COUNT / 3} products`).waitFor();
    assert.ok((await cards.allTextContents()).every((text) => text.includes('Lamp')));
    await search.fill('CHA-007');
    await cards.first().getByText('Nord Oak Dining Chair 7', { exact: true }).waitFor();
    await search.fill('nothing like this at all');
    await main.getByRole('heading', { name: 'Nothing on the shelves matches' }).waitFor();
    await assertAccessible(page, 'nothing found');
  });
  await story.check('Aisles, shelves and filters narrow the choice, and the address keeps it.', async () => {
    await page.goto('/');
    await main.getByRole('link', { name: 'Furniture' }).click();
    await main.getByRole('heading', { name: 'Furniture', level: 1 }).waitFor();
    await main.getByRole('link', { name: 'Chairs' }).click();
    await main.getByText('20 products').waitFor();
    await main.getByText('In stock').first().click();
    await main.getByText('16 products').waitFor();
    await main.getByRole('button', { name: 'Colour' }).click();
    await assertAccessible(page, 'colours');
    await page.getByRole('button', { name: 'sage' }).click();
    await page.keyboard.press('Escape');
    await main.getByText('8 products').waitFor();
    await page.reload();
    await main.getByText('8 products').waitFor();
  });
  await story.check('Sorting by price puts the cheapest first.', async () => {
    await page.goto('/?currency=EUR');
    await main.getByRole('button', { name: /Sort by/ }).click();
    await page.getByRole('option', { name: 'Price, low to high' }).click();
    await page.waitForURL(/sort=cheap/);
    await page.waitForFunction(() => document.querySelector('.card .price')?.textContent === '€11.90');
    await main.getByText('15 products').waitFor();
  });
  await story.check('A product page tells all there is to know.', async () => {
    await page.goto('/');
    await main.getByRole('link', { name: 'Nord Oak Dining Chair 29' }).click();
    await main.getByRole('heading', { name: 'Nord Oak Dining Chair 29', level: 1 }).waitFor();
    await main.getByText('29 in stock').waitFor();
    await main.getByText('CHA-029').waitFor();
    await main.getByRole('heading', { name: 'From the same shelf' }).waitFor();
    await assertAccessible(page, 'product');
  });
  await story.check('Price and stock change on the page within a second of the change.', async () => {
    const { product } = await api.ask('{ product(by: { sku: "CHA-029" }) { id } }');
    await assertSeenWithinASecond(
      (number) => api.update(product.id, { stock: 40 + number }),
      (number) => main.getByText(`${40 + number} in stock`),
    );
    await assertSeenWithinASecond(
      (number) => api.update(product.id, { stock: 3, price: { amount: `17.5${number % 10}`, currency: 'EUR' } }),
      (number) => main.getByText(`€17.5${number % 10}`).first(),
    );
    await main.getByText('Only 3 left').waitFor();
  });
  await story.check('What is wrong with a registration is told at its field.', async () => {
    await page.goto('/register');
    await assertAccessible(page, 'register');
    await page.getByLabel('E-mail address').fill(email);
    await page.getByLabel('Password', { exact: true }).fill(customer.password);
    await page.getByRole('button', { name: 'Open the account' }).click();
    const field = page.getByLabel('E-mail address');
    await page.waitForFunction((input) => input.getAttribute('aria-invalid') === 'true', await field.elementHandle());
    await page.getByLabel('E-mail address').fill(customer.email);
    await page.getByLabel('Password', { exact: true }).fill('12345678');
    await page.getByRole('button', { name: 'Open the account' }).click();
    const weak = page.getByLabel('Password', { exact: true });
    await page.waitForFunction((input) => input.getAttribute('aria-invalid') === 'true', await weak.elementHandle());
    await assertAccessible(page, 'a registration that was refused');
  });
  await story.check('A new account is signed in, also after a reload, and leaves nothing in localStorage.', async () => {
    await page.getByLabel('Name', { exact: true }).fill('Clara Customer');
    await page.getByLabel('Password', { exact: true }).fill(customer.password);
    await page.getByRole('button', { name: 'Open the account' }).click();
    await page.getByRole('button', { name: 'Account of Clara Customer' }).waitFor();
    await page.reload();
    await page.getByRole('button', { name: 'Account of Clara Customer' }).waitFor();
    assert.equal(await page.evaluate(() => localStorage.length), 0);
    assert.equal(await page.evaluate(() => document.cookie), '');
    const kept = await page.evaluate(() => Object.values(sessionStorage).join());
    assert.ok(!kept.includes('eyJ'), 'an access token is kept');
  });
  await story.check('A link by mail verifies the address.', async () => {
    await page.goto('/account');
    // A link that is sent makes the one before it void.
    const first = await linkInMail(outbox, 'verify-email');
    await page.getByRole('button', { name: 'Send me the link' }).click();
    await page.goto(await linkInMail(outbox, 'verify-email', first));
    await main.getByText(`${customer.email} is yours`).waitFor();
    assert.equal(new URL(page.url()).search, '');
    await page.goto('/account');
    await main.getByText('Address verified').waitFor();
    await assertAccessible(page, 'account');
  });
  const other = await story.window({ phone: true });
  await story.check('A session that is revoked elsewhere is signed out, and says why.', async () => {
    await signIn(other, customer.email, customer.password, '/account');
    await other.getByRole('heading', { name: 'Where you are signed in' }).waitFor();
    await page.goto('/');
    await page.goto('/account');
    const rows = main.getByRole('listitem').filter({ hasText: 'used' });
    await rows.nth(1).waitFor();
    await rows.filter({ hasNotText: 'This one' }).getByRole('button').click();
    await other.getByText('You were signed out: this session was ended.').waitFor();
    await other.getByRole('heading', { name: 'Sign in' }).waitFor();
    await page.waitForFunction(() => document.querySelectorAll('.row').length === 1);
  });
  await story.check('The staff’s pages are not for customers.', async () => {
    await page.goto('/staff');
    await main.getByRole('heading', { name: 'This part is for the staff' }).waitFor();
    await assertAccessible(page, 'not for customers');
  });
  await story.check('A password can be changed, if the old one is known.', async () => {
    await page.goto('/account');
    await page.getByLabel('Password until now').fill('not the password');
    await page.getByLabel('New password').fill('another envelope ladder');
    await page.getByRole('button', { name: 'Change the password' }).click();
    await main.locator('.problem, .complaints').first().waitFor();
    await page.getByLabel('Password until now').fill(customer.password);
    await page.getByRole('button', { name: 'Change the password' }).click();
    await page.getByText('The password is changed').waitFor();
    customer.password = 'another envelope ladder';
  });
  await story.check('Who signs out is a stranger again, also after a reload.', async () => {
    await page.getByRole('button', { name: 'Account of Clara Customer' }).click();
    await assertAccessible(page, 'menu');
    await page.getByRole('menuitem', { name: 'Sign out' }).click();
    await page.getByRole('link', { name: 'Sign in' }).waitFor();
    await page.reload();
    await page.getByRole('link', { name: 'Sign in' }).waitFor();
    await page.goto('/account');
    await page.waitForURL(/\/sign-in/);
    await assertAccessible(page, 'sign in');
  });
  await story.check('A forgotten password is set anew by a link in a mail.', async () => {
    await page.getByRole('link', { name: 'Forgotten the password?' }).click();
    await page.getByLabel('E-mail address').fill(customer.email);
    await assertAccessible(page, 'forgotten password');
    await page.getByRole('button', { name: 'Send the link' }).click();
    await main.getByRole('heading', { name: 'Look into your mail' }).waitFor();
    await page.goto(await linkInMail(outbox, 'reset-password'));
    await page.getByLabel('New password').fill('a third envelope ladder');
    await assertAccessible(page, 'new password');
    await page.getByRole('button', { name: 'Set the password' }).click();
    await page.getByRole('button', { name: 'Account of Clara Customer' }).waitFor();
  });
});

/** The path of the newest link to a page of the shop that was sent, which is not the one before. */
async function linkInMail(outbox, page, before) {
  for (let tries = 0; tries < 100; tries += 1) {
    const names = (await readdir(outbox).catch(() => [])).filter((name) => name.endsWith('.eml')).sort();
    for (const name of names.reverse()) {
      const mail = (await readFile(`${outbox}/${name}`, 'utf8')).replace(/=\r?\n/g, '').replace(/=3D/g, '=');
      const link = new RegExp(`/${page}\\?token=[\\w.~-]+`).exec(mail);
      if (link && link[0] !== before) return link[0];
      if (link) break;
    }
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`no mail has a link to ${page}`);
}
