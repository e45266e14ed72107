// GraphiQL without the internet: whatever leaves the server's origin is a failure.

import assert from 'node:assert/strict';

import { Api, story } from './browser.mjs';

await story('graphiql.mjs URL STAFF_EMAIL STAFF_PASSWORD', 3, 7, async (story, url, email, password) => {
  const api = await new Api(story.origin).signIn(email, password);
  const lamp = await api.product({ sku: 'LAM-001', name: 'Nord Brass Desk Lamp', stock: 4 });
  const page = await story.window();
  const response = page.locator('.graphiql-response .view-lines');
  const report = page.getByRole('region', { name: 'Report' });
  const run = () => page.getByRole('button', { name: 'Execute query' }).click();
  const tab = (name) => page.getByRole('tab', { name }).click();
  // The editor wraps its lines.
  const answered = (text) =>
    page.waitForFunction(
      (wanted) => document.querySelector('.graphiql-response .view-lines')?.textContent.replace(/\s/g, '').includes(wanted),
      text.replace(/\s/g, ''),
    );

  await story.check('It opens with its tabs, soon.', async () => {
    await page.goto('/graphiql');
    for (const name of ['Browse', 'SearchAndFilter', 'SignIn', 'CreateProduct', 'Watch']) {
      await page.getByRole('tab', { name }).waitFor();
    }
    // Before its document is there the editor runs none.
    await page.locator('.graphiql-query-editor .view-lines').getByText('products').first().waitFor();
    const paint = await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0].startTime);
    console.log(`first contentful paint after ${Math.round(paint)} ms`);
  });
  await story.check('A query is answered, with its cost, the cache’s decision and the time beside it.', async () => {
    await run();
    await answered('Nord Brass Desk Lamp');
    await report.getByText(/Cost \d+/).waitFor();
    await report.getByText(/Cache stored/).waitFor();
    await report.getByText(/[\d.]+ ms/).waitFor();
    await run();
    await report.getByText(/Cache hit/).waitFor();
  });
  await story.check('The documentation opens.', async () => {
    await page.getByRole('button', { name: 'Show Documentation Explorer' }).click();
    await page.getByRole('link', { name: 'Query', exact: true }).click();
    await page.getByText('What can be asked.').waitFor();
  });
  await story.check('The editor completes fields of the schema.', async () => {
    await page.getByRole('button', { name: 'New tab' }).click();
    await page.locator('.graphiql-query-editor .view-lines').click();
    await page.keyboard.press('Control+A');
    await page.keyboard.press('Delete');
    await page.keyboard.type('{ prod');
    await page.keyboard.press('Control+Space');
    await page.locator('.suggest-widget').getByText('products', { exact: true }).first().waitFor();
    await page.keyboard.press('Escape');
  });
  await story.check('The account panel signs in, and a mutation then runs.', async () => {
    await page.getByRole('button', { name: 'Show Account' }).click();
    const account = page.getByRole('region', { name: 'Account' });
    await account.getByLabel('E-mail address').fill(email);
    await account.getByLabel('Password').fill('not the password');
    await account.getByRole('button', { name: 'Sign in' }).click();
    await account.getByRole('alert').waitFor();
    await account.getByLabel('Password').fill(password);
    await account.getByRole('button', { name: 'Sign in' }).click();
    await account.getByRole('button', { name: 'Sign out' }).waitFor();
    await report.getByText('STAFF').waitFor();
    await tab('CreateProduct');
    await run();
    await answered('"slug": "desk-lamp"');
    const kept = await page.evaluate(() => JSON.stringify([localStorage, sessionStorage, document.cookie]));
    assert.ok(!kept.includes('eyJ'), 'a token is kept');
  });
  await story.check('A subscription shows what happens, over the WebSocket.', async () => {
    const sockets = [];
    page.on('websocket', (socket) => sockets.push(socket.url()));
    await tab('Watch');
    await run();
    for (let stock = 10; !/STOCK_CHANGED/.test(await response.textContent()); stock += 1) {
      assert.ok(stock < 40, `no event comes: ${await response.textContent()}`);
      await api.update(lamp.id, { stock });
      await page.waitForTimeout(200);
    }
    assert.equal(sockets.length, 1);
    await page.getByRole('button', { name: 'Stop query' }).click();
  });
  await story.check('Who signs out is nobody again.', async () => {
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('button', { name: 'Sign in' }).waitFor();
    await tab('CreateProduct');
    await run();
    await answered('UNAUTHENTICATED');
  });
});
