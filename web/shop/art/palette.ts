/** What things are made of. */
const MATERIALS: Record<string, string> = {
  aluminium: '#c3c9cc',
  bamboo: '#cdb36a',
  beech: '#d9b58a',
  birch: '#e2cda6',
  'black-steel': '#33383c',
  'bone-china': '#f3ece0',
  brass: '#c9993a',
  canvas: '#dfd1ae',
  'carbon-steel': '#5b6267',
  'cast-iron': '#3b4145',
  cedar: '#b06f43',
  ceramic: '#ece5d8',
  clay: '#b8643f',
  concrete: '#a9a9a3',
  copper: '#c0703f',
  'corten-steel': '#9c4f2b',
  damascus: '#8d979e',
  enamel: '#f1efe8',
  eucalyptus: '#b5885a',
  felt: '#7c838a',
  'fibre-clay': '#8f8a82',
  glass: '#b5d9de',
  'kraft-paper': '#c49a6c',
  leather: '#8a4f2c',
  linen: '#e4d8c2',
  linoleum: '#4f6b5a',
  marble: '#e8e5e0',
  oak: '#c89b64',
  'olive-wood': '#a8813f',
  'opal-glass': '#f6efe0',
  paper: '#f2eadb',
  pine: '#dcb778',
  porcelain: '#f6f4ef',
  rattan: '#c8a266',
  'stainless-steel': '#b3bcc2',
  steel: '#98a3ab',
  stoneware: '#b8a48c',
  teak: '#a8703f',
  terracotta: '#c96f4a',
  walnut: '#6f4932',
  zinc: '#98a4a7',
};

const COLOURS: Record<string, string> = {
  black: '#2a2e31',
  grey: '#8d959a',
  mustard: '#dba52a',
  natural: '#ead9b6',
  navy: '#2a4574',
  sage: '#94ae8b',
  terracotta: '#d2704d',
  white: '#f8f5ee',
};

const FIXED: Record<string, string> = {
  b: '#fbf9f4',
  f: '#ee8434',
  g: '#6f9c5c',
  h: '#4c7a49',
  k: '#24292c',
  n: '#e6c99a',
  o: '#c99f66',
  s: '#c4ccd1',
  t: '#5a3925',
  w: '#fff0bf',
  y: '#fff0bf',
};

/** A colour with some of another in it. */
function mix(colour: string, other: number, share: number): string {
  const channel = (at: number) => {
    const value = parseInt(colour.slice(at, at + 2), 16);
    return Math.round(value + (other - value) * share).toString(16).padStart(2, '0');
  };
  return `#${channel(1)}${channel(3)}${channel(5)}`;
}

/** The colours of a drawing, by their letters. */
export function palette(tags: readonly string[]): Record<string, string> {
  const find = (known: Record<string, string>, fallback: string) =>
    tags.map((tag) => known[tag]).find((colour) => colour !== undefined) ?? fallback;
  const material = find(MATERIALS, '#c89b64');
  // A tag may be both: a terracotta pot is of terracotta.
  const colour = find(COLOURS, '#e0614a');
  return {
    ...FIXED,
    m: material,
    d: mix(material, 16, 0.24),
    l: mix(material, 255, 0.34),
    c: colour,
    e: mix(colour, 16, 0.2),
  };
}
