// What the staff does in the catalogue, two of them at once, while a customer looks.

import assert from 'node:assert/strict';

import { Api, assertAccessible, assertSeenWithinASecond, signIn, story } from './browser.mjs';

await story('staff.mjs URL STAFF_EMAIL STAFF_PASSWORD', 3, 10, async (story, url, email, password) => {
  const api = await new Api(story.origin).signIn(email, password);
  await api.stock(6);
  const [page, colleague, customer] = [await story.window(), await story.window(), await story.window({ phone: true, othersChangeIt: true })];
  const main = page.getByRole('main');
  const row = (of, name) => of.getByRole('row', { name });

  await story.check('The catalogue lists everything, drafts too.', async () => {
    await api.product({ sku: 'DRAFT-1', name: 'Linen Sofa', status: 'DRAFT' });
    await signIn(page, email, password, '/staff');
    await row(page, 'Linen Sofa').getByText('draft', { exact: true }).waitFor();
    await main.getByText('7 products').waitFor();
    await assertAccessible(page, 'catalogue');
    await main.getByRole('searchbox').fill('lamp');
    await main.getByText('2 products').waitFor();
    await main.getByRole('searchbox').fill('');
    await main.getByText('7 products').waitFor();
  });
  await story.check('What is wrong with a new product is told at its fields.', async () => {
    await main.getByRole('link', { name: 'New product' }).click();
    await main.getByRole('heading', { name: 'A new product' }).waitFor();
    await assertAccessible(page, 'new product');
    await page.getByLabel('Name', { exact: true }).fill('Copper Kettle');
    await page.getByLabel('SKU').fill('CHA-001');
    await page.getByLabel('Price', { exact: true }).fill('forty');
    await page.getByRole('button', { name: 'Create the product' }).click();
    await invalid(page.getByLabel('Price', { exact: true }));
    await page.getByLabel('Price', { exact: true }).fill('40.00');
    await page.getByRole('button', { name: 'Create the product' }).click();
    await invalid(page.getByLabel('SKU'));
    await assertAccessible(page, 'a product that was refused');
  });
  await customer.goto('/');
  await story.check('A new product appears in the shop within a second.', async () => {
    await assertSeenWithinASecond(
      (number) => api.product({ sku: `PROBE-${number}`, name: `Probe ${number}` }),
      (number) => customer.getByRole('link', { name: `Probe ${number}`, exact: true }),
    );
    await page.getByLabel('SKU').fill('KET-001');
    await choose(page, 'Status', 'Active: on sale');
    await page.getByRole('button', { name: 'Create the product' }).click();
    await main.getByRole('heading', { name: 'Copper Kettle', level: 1 }).waitFor();
    await customer.getByRole('link', { name: 'Copper Kettle' }).waitFor();
    await page.waitForURL(/\/staff\/product\//);
  });
  await story.check('A changed price appears in the shop within a second.', async () => {
    await page.getByLabel('Price', { exact: true }).fill('44.50');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('Saved.').waitFor();
    await customer.getByRole('listitem').filter({ hasText: 'Copper Kettle' }).getByText('€44.50').waitFor();
  });
  await story.check('A change that others made meanwhile is shown, and both are kept.', async () => {
    await signIn(colleague, email, password, '/staff');
    await colleague.getByRole('link', { name: 'Copper Kettle' }).click();
    await colleague.getByRole('heading', { name: 'Copper Kettle', level: 1 }).waitFor();
    await colleague.getByLabel('Name', { exact: true }).fill('Copper Kettle, large');
    await colleague.getByLabel('Tags').fill('copper');
    await page.getByLabel('Name', { exact: true }).fill('Kettle of copper');
    await page.getByLabel('Price', { exact: true }).fill('45.00');
    await page.getByRole('button', { name: 'Save' }).click();
    await main.getByRole('heading', { name: 'Kettle of copper', level: 1 }).waitFor();
    // It is told at once, and before anything is overwritten.
    await colleague.getByText('Someone else has just changed this product.').waitFor();
    await colleague.getByRole('button', { name: 'Save' }).click();
    const dialog = colleague.getByRole('dialog', { name: 'Someone else saved this first' });
    await dialog.getByText('Price is now 45.00').waitFor();
    assert.ok(await dialog.getByRole('button', { name: 'Save both' }).isDisabled());
    await dialog.getByText('Copper Kettle, large').click();
    await assertAccessible(colleague, 'conflict');
    await dialog.getByRole('button', { name: 'Save both' }).click();
    await dialog.waitFor({ state: 'hidden' });
    const query = '{ product(by: { sku: "KET-001" }) { name tags price { amount } } }';
    const { product } = await api.ask(query);
    assert.deepEqual(product, { name: 'Copper Kettle, large', tags: ['copper'], price: { amount: '45.00' } });
  });
  await story.check('Stock is added and taken, and the other catalogue shows it within a second.', async () => {
    await page.goto('/staff');
    await colleague.goto('/staff');
    const chair = 'Nord Oak Dining Chair 4';
    await row(page, chair).waitFor();
    await row(colleague, chair).waitFor();
    await assertSeenWithinASecond(
      () => row(page, chair).getByRole('button', { name: `One ${chair} more` }).click(),
      (number) => row(colleague, chair).getByText(String(4 + number), { exact: true }),
    );
    await row(page, chair).getByRole('button', { name: `Actions for ${chair}` }).click();
    await page.getByRole('menuitem', { name: 'Adjust the stock' }).click();
    await page.getByLabel('Pieces to add').fill('-99');
    await page.getByRole('button', { name: 'Adjust', exact: true }).click();
    await invalid(page.getByLabel('Pieces to add'));
    await assertAccessible(page, 'adjust');
    await page.getByLabel('Pieces to add').fill('1000');
    await page.getByRole('button', { name: 'Adjust', exact: true }).click();
    await row(colleague, chair).getByText(/^10\d\d$/).waitFor();
  });
  await story.check('A deletion can be undone.', async () => {
    await remove(page, 'Linen Sofa');
    await row(page, 'Linen Sofa').waitFor({ state: 'hidden' });
    await page.getByRole('button', { name: 'Undo' }).click();
    await row(page, 'Linen Sofa').waitFor();
    const { product } = await api.ask('{ product(by: { sku: "DRAFT-1" }) { name } }');
    assert.equal(product.name, 'Linen Sofa');
  });
  await story.check('A deletion that is not undone reaches everybody.', async () => {
    await remove(page, 'Copper Kettle, large');
    await row(page, 'Copper Kettle, large').waitFor({ state: 'hidden' });
    await row(colleague, 'Copper Kettle, large').waitFor({ state: 'hidden' });
    await customer.getByRole('link', { name: 'Copper Kettle' }).waitFor({ state: 'hidden' });
  });
  await story.check('A deletion of what others changed meanwhile is taken back.', async () => {
    await remove(page, 'Linen Sofa');
    await row(page, 'Linen Sofa').waitFor({ state: 'hidden' });
    const { product } = await api.ask('{ product(by: { sku: "DRAFT-1" }) { id } }');
    await api.update(product.id, { stock: 77 });
    await page.getByText('Linen Sofa is still there').waitFor();
    await row(page, 'Linen Sofa').getByText('77').waitFor();
  });
  await story.check('Categories are made, renamed, and deleted unless something is in them.', async () => {
    await page.goto('/staff/categories');
    await page.getByRole('button', { name: 'New aisle' }).click();
    await page.getByLabel('Name', { exact: true }).fill('Garden');
    await assertAccessible(page, 'new category');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByRole('button', { name: 'Edit Garden' }).click();
    await page.getByLabel('Name', { exact: true }).fill('Outdoor');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByRole('button', { name: 'Delete Outdoor' }).click();
    await page.getByText('Outdoor is gone.').waitFor();
    await page.getByRole('button', { name: 'Delete Chairs' }).click();
    await page.locator('.toast-bad').waitFor();
    await page.getByRole('button', { name: 'Delete Chairs' }).waitFor();
    await assertAccessible(page, 'categories');
  });
});

async function invalid(field) {
  await field.and(field.page().locator('[aria-invalid="true"]')).waitFor();
}

async function choose(page, label, option) {
  await page.getByRole('button', { name: label }).click();
  await page.getByRole('option', { name: option }).click();
}

async function remove(page, name) {
  await page.getByRole('button', { name: `Actions for ${name}`, exact: true }).click();
  await page.getByRole('menuitem', { name: 'Delete' }).click();
}
