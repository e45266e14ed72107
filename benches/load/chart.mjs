// Draws measured rates as an SVG: `node benches/load/chart.mjs docs/performance.json > docs/performance.svg`. The file has
// for each workload its title and, by server, requests a second.

import { readFileSync } from 'node:fs';

const { title, workloads } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const [WIDTH, LEFT, BAR, GAP, RIGHT] = [860, 200, 16, 5, 110];
const text = (words) => words.replace(/[&<>]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[sign]);

let y = 44;
const parts = [`<text class="title" x="0" y="20">${text(title)}</text>`];
for (const { name, rates } of workloads) {
  parts.push(`<text class="name" x="0" y="${y + 12}">${text(name)}</text>`);
  y += 22;
  const most = Math.max(...Object.values(rates));
  for (const [server, rate] of Object.entries(rates)) {
    const kind = server.startsWith('Stockroom') ? 'ours' : server.startsWith('limit') ? 'limit' : 'other';
    const length = Math.max(1, (rate / most) * (WIDTH - LEFT - RIGHT));
    parts.push(
      `<text class="label" x="${LEFT - 8}" y="${y + 12}" text-anchor="end">${text(server)}</text>`,
      `<rect class="${kind}" x="${LEFT}" y="${y}" width="${length.toFixed(1)}" height="${BAR}" rx="2"/>`,
      `<text class="label" x="${(LEFT + length + 6).toFixed(1)}" y="${y + 12}">${Math.round(rate).toLocaleString('en')}/s</text>`,
    );
    y += BAR + GAP;
  }
  y += 14;
}
console.log(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" role="img" aria-label="${text(title)}">
<style>
  text { font: 12px system-ui, sans-serif; fill: #24292f } .title { font-size: 15px; font-weight: 600 } .name { font-weight: 600 }
  .ours { fill: #1f6feb } .limit { fill: #8c959f } .other { fill: #c8a26b }
  @media (prefers-color-scheme: dark) { text { fill: #d0d7de } .ours { fill: #58a6ff } .limit { fill: #6e7681 } .other { fill: #9a7b4f } }
</style>
${parts.join('\n')}
</svg>`);
