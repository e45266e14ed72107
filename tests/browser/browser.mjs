// The machine's Chromium, windows in it, and what must be true of every page in them.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';

import axe from 'axe-core';
import { chromium } from 'playwright-core';

import { check, finish, parameters } from '../clients/check.mjs';

export { check };

/** For all that a browser does, on a machine that has other things to do. */
const PATIENCE_SECONDS = 300;
const PROGRAM_SECONDS = 1200;

/** How much of a page may jump while it loads, as `layout-shift` measures it: less is good, says https://web.dev/articles/cls. */
const MAX_JUMP = 0.1;

const PROGRAM =
  process.env.CHROMIUM ??
  [
    '/usr/bin/chromium',
    '/usr/bin/chromium-browser',
    '/usr/bin/google-chrome',
    '/Applications/Chromium.app/Contents/MacOS/Chromium',
    '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  ].find(existsSync);
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
const DESKTOP = { viewport: { width: 1360, height: 900 } };

/** Runs a program of checks in a browser: `usage` names what it is given. */
export async function story(usage, count, expected, tell) {
  const given = parameters(usage, count, PROGRAM_SECONDS);
  const browser = await chromium.launch({ executablePath: PROGRAM, args: FLAGS });
  const origin = URL.canParse(given[0]) ? new URL(given[0]).origin : undefined;
  const told = new Story(browser, origin);
  await tell(told, ...given);
  await check('No page asked another site, broke its policy, jumped, or threw.', async () => assert.deepEqual(told.faults, []));
  await browser.close();
  finish(expected + 1);
}

class Story {
  faults = [];

  constructor(browser, origin) {
    this.browser = browser;
    this.origin = origin;
  }

  check(sentence, body) {
    return check(sentence, body, PATIENCE_SECONDS);
  }

  /** A window of its own, with nothing that another one has. What others change meanwhile may move what it shows. */
  async window({ phone = false, dark = false, othersChangeIt = false } = {}) {
    const context = await this.browser.newContext({
      ...(phone ? PHONE : DESKTOP),
      baseURL: this.origin,
      colorScheme: dark ? 'dark' : 'light',
      reducedMotion: 'reduce',
      permissions: [],
    });
    context.setDefaultTimeout(90_000);
    await context.route(
      (url) => url.origin !== this.origin && url.protocol.startsWith('http'),
      (route) => {
        this.faults.push(`asked ${route.request().url()}`);
        return route.abort();
      },
    );
    await context.exposeBinding('jumped', ({ page }, sum, moved) => {
      if (sum > MAX_JUMP && !othersChangeIt) this.faults.push(`${new URL(page.url()).pathname} jumped by ${sum.toFixed(3)}: ${moved}`);
    });
    await context.addInitScript(() => {
      let [sum, first, last] = [0, 0, 0];
      new PerformanceObserver((list) => {
        for (const { startTime, value, hadRecentInput, sources } of list.getEntries()) {
          // What people did themselves is no jump.
          if (hadRecentInput) continue;
          // Jumps are summed up while they follow each other, for five seconds at most.
          if (startTime - last > 1000 || startTime - first > 5000) [sum, first] = [0, startTime];
          last = startTime;
          sum += value;
          globalThis.jumped(sum, sources.map(({ node }) => node?.className || node?.nodeName).join(', '));
        }
      }).observe({ type: 'layout-shift', buffered: true });
    });
    const page = await context.newPage();
    page.on('pageerror', ({ name, message, stack }) => this.faults.push(`threw ${name}: ${message} ${stack}`));
    page.on('console', (message) => {
      if (/Content Security Policy|violates the following/.test(message.text())) {
        this.faults.push(message.text());
      }
    });
    return page;
  }
}

/** What axe-core finds fault with, in both colour schemes and on both sizes of window. */
export async function assertAccessible(page, name) {
  const size = page.viewportSize();
  const found = [];
  await page.getByRole('heading', { level: 1, includeHidden: true }).first().waitFor();
  for (const colorScheme of ['light', 'dark']) {
    for (const viewport of [DESKTOP.viewport, PHONE.viewport]) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await page.setViewportSize(viewport);
      await page.evaluate(axe.source);
      const { violations } = await page.evaluate(() => globalThis.axe.run());
      for (const { id, nodes } of violations) {
        const places = nodes.map(({ html, failureSummary }) => `${html}\n${failureSummary}`);
        found.push(`${name}, ${colorScheme}, ${viewport.width} wide: ${id}\n${places.join('\n')}`);
      }
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (wide > 0) {
        found.push(`${name} is ${wide} pixels wider than a window of ${viewport.width}`);
      }
    }
  }
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
  await page.setViewportSize(size);
  assert.deepEqual(found, []);
}

/**
 * Whether a change is seen within a second after the server has acknowledged it. `change` is told which try it is: the
 * page's socket may not be there at the first, and the machine may be busy at another.
 */
export async function assertSeenWithinASecond(change, seen) {
  const took = [];
  for (let number = 1; number <= 10; number += 1) {
    await change(number);
    const begun = performance.now();
    await seen(number)
      .waitFor({ timeout: 2000 })
      .catch(() => undefined);
    took.push(Math.round(performance.now() - begun));
    if (took.at(-1) <= 1000) return;
  }
  assert.fail(`it took ${took.join(', ')} ms`);
}

/** Signs in on the shop's page, and waits until that is done. */
export async function signIn(page, email, password, next = '/') {
  await page.goto(`/sign-in?next=${encodeURIComponent(next)}`);
  await page.getByLabel('E-mail address').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('main').getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL((url) => url.pathname === next);
}

/** The API beside the pages, as a member of the staff. */
export class Api {
  #token;

  constructor(origin) {
    this.url = `${origin}/graphql`;
  }

  async ask(query, variables = {}) {
    const headers = { 'content-type': 'application/json', ...(this.#token && { authorization: `Bearer ${this.#token}` }) };
    const response = await fetch(this.url, { method: 'POST', headers, body: JSON.stringify({ query, variables }) });
    const { data, errors } = await response.json();
    assert.equal(errors, undefined, JSON.stringify(errors));
    return data;
  }

  async signIn(email, password) {
    const query = 'mutation($input: LoginInput!) { login(input: $input) { tokens { accessToken } errors { __typename } } }';
    const { login } = await this.ask(query, { input: { email, password } });
    assert.deepEqual(login.errors, []);
    this.#token = login.tokens.accessToken;
    return this;
  }

  async category(name, parentId = null) {
    const query = 'mutation($input: CategoryInput!) { createCategory(input: $input) { category { id } errors { __typename } } }';
    const { createCategory } = await this.ask(query, { input: { name, parentId } });
    assert.deepEqual(createCategory.errors, []);
    return createCategory.category.id;
  }

  async product(input) {
    const query = `mutation($input: ProductInput!) {
      createProduct(input: $input) { product { id slug version } errors { ... on UserError { code message path } } }
    }`;
    const defaults = { status: 'ACTIVE', stock: 9, price: { amount: '10.00', currency: 'EUR' } };
    const { createProduct } = await this.ask(query, { input: { ...defaults, ...input } });
    assert.deepEqual(createProduct.errors, []);
    return createProduct.product;
  }

  async delete(id) {
    const { deleteProduct } = await this.ask(
      'mutation($id: ID!) { deleteProduct(by: { id: $id }) { deletedId } }',
      { id },
    );
    assert.equal(deleteProduct.deletedId, id);
  }

  async update(id, patch) {
    const query = `mutation($id: ID!, $patch: ProductPatch!) {
      updateProduct(by: { id: $id }, patch: $patch) { errors { ... on UserError { code message } } }
    }`;
    const { updateProduct } = await this.ask(query, { id, patch });
    assert.deepEqual(updateProduct.errors, []);
  }

  /** Two aisles with shelves, and `count` chairs and lamps on them. */
  async stock(count) {
    const furniture = await this.category('Furniture');
    const chairs = await this.category('Chairs', furniture);
    const lighting = await this.category('Lighting');
    const lamps = await this.category('Table Lamps', lighting);
    for (let number = 1; number <= count; number += 1) {
      const isLamp = number % 3 === 0;
      await this.product({
        sku: `${isLamp ? 'LAM' : 'CHA'}-${String(number).padStart(3, '0')}`,
        name: isLamp ? `Nord Brass Desk Lamp ${number}` : `Nord Oak Dining Chair ${number}`,
        categoryId: isLamp ? lamps : chairs,
        stock: number % 5 === 0 ? 0 : number,
        price: { amount: `${10 + number}.90`, currency: number % 2 ? 'EUR' : 'USD' },
        tags: ['oak', number % 2 ? 'sage' : 'navy'],
      });
    }
  }
}
