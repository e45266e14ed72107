// What the database says at last: that each acknowledged write happened once, and nothing else did.

const globalId = (uuid) => Buffer.from(`Product:${uuid}`).toString('base64url');

/** Holds the whole database against what was acknowledged; `keyed` is how many writes under keys were. */
export async function audit({ postgres }, checker, keyed) {
  const [products, [[version, versions, first, last]], [[unlike]], [[kept, empty]], [[idle]]] = [
    await postgres.ask('SELECT id, version, stock, price_amount FROM products'),
    await postgres.ask(`SELECT (SELECT v FROM catalog_version), count(DISTINCT v), min(v), max(v) FROM changes`),
    // The log has each version of a product as the table had it, once, and of now what the table has.
    await postgres.ask(`SELECT count(*) FROM products AS p, LATERAL (
        SELECT count(*) AS entries, max((after->>'stock')::int) FILTER (WHERE place = 1) AS stock FROM (
          SELECT after, row_number() OVER (ORDER BY v DESC, n DESC) AS place FROM changes
          WHERE entity = 'PRODUCT' AND entity_id = p.id) AS logged
      ) AS log WHERE log.entries <> p.version OR log.stock IS DISTINCT FROM p.stock`),
    await postgres.ask(`SELECT count(*), count(*) FILTER (WHERE answer = '') FROM idempotency`),
    await postgres.ask(`SELECT count(*) FROM pg_stat_activity
      WHERE state LIKE 'idle in transaction%' AND state_change < clock_timestamp() - interval '6 s'`),
  ];
  checker.finds(products.map(([id, ...numbers]) => {
    const [version, stock] = numbers.map(Number);
    return { id: globalId(id), version, stock };
  }));
  if (version !== last || Number(versions) !== last - first + 1) {
    checker.tells(`the log has ${versions} versions from ${first} to ${last}, the register says ${version}`);
  }
  if (unlike !== '0') checker.tells(`of ${unlike} products the log tells another story`);
  if (Number(kept) !== keyed || empty !== '0') {
    checker.tells(`there are ${kept} keys, of which ${empty} have no answer; ${keyed} writes were acknowledged`);
  }
  if (idle !== '0') checker.tells(`${idle} connections are idle in a transaction`);
}
