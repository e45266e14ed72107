// Chance that is the same each time it is given the same seed.

/** Throws dice: `dice(n)` is one of the n numbers from 0. */
export function seeded(seed) {
  let state = seed >>> 0;
  return (sides) => {
    // Mulberry32.
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * sides);
  };
}

export const oneOf = (dice, things) => things[dice(things.length)];
