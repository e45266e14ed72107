import type { MoneyPartsFragment } from '../gql/graphql';

/** A price as people write it; never a float, whose cents may be lost. */
export function money({ amount, currency, fractionDigits }: MoneyPartsFragment): string {
  const format = new Intl.NumberFormat('en', {
    style: 'currency',
    currency,
    currencyDisplay: 'narrowSymbol',
    minimumFractionDigits: fractionDigits,
    maximumFractionDigits: fractionDigits,
  });
  return format.format(amount as `${number}`);
}

/** By how many hundredths a price fell; null if it did not. */
export function reduction(price: MoneyPartsFragment, before: MoneyPartsFragment | null | undefined): number | null {
  const share = before ? 1 - Number(price.amount) / Number(before.amount) : 0;
  return share >= 0.01 ? Math.round(share * 100) : null;
}

export function day(moment: string): string {
  return new Intl.DateTimeFormat('en', { dateStyle: 'medium' }).format(new Date(moment));
}

const UNITS = [
  ['year', 31_557_600],
  ['month', 2_629_800],
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
] as const;

/** How long ago something was, roughly. */
export function ago(moment: string): string {
  const seconds = (Date.parse(moment) - Date.now()) / 1000;
  const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
  for (const [unit, length] of UNITS) {
    if (Math.abs(seconds) >= length) {
      return relative.format(Math.round(seconds / length), unit);
    }
  }
  return 'just now';
}

export function count(number: number, one: string, many = `${one}s`): string {
  return `${number.toLocaleString('en')} ${number === 1 ? one : many}`;
}
