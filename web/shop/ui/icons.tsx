const PATHS = {
  search: 'M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM15.5 15.5 20 20',
  close: 'M6 6l12 12M18 6 6 18',
  person: 'M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM4.5 20c.8-3.6 3.8-5.5 7.500-5.500s6.700 1.900 7.500 5.500',
  plus: 'M12 5v14M5 12h14',
  minus: 'M5 12h14',
  down: 'm6 9 6 6 6-6',
  right: 'm9 6 6 6-6 6',
  left: 'm15 6-6 6 6 6',
  check: 'm5 12.500 4.500 4.500L19 7.500',
  more: 'M6 12h.01M12 12h.01M18 12h.01',
  filter: 'M4 7h16M7 12h10M10 17h4',
  alert: 'M12 8v5M12 16.500h.01M12 3.500 2.500 20h19L12 3.500Z',
  offline: 'M4 4l16 16M8.500 12.500a5 5 0 0 1 5-1.300M5 9a10 10 0 0 1 3-2M12 5.500c2.600 0 5.100 1.200 7 3.500M12 18h.01',
} as const;

export function Icon({ name }: { name: keyof typeof PATHS }) {
  return (
    <svg className="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
