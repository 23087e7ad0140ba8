import { expect, it } from 'vitest';
import { formatCsv, parseCsv } from './csv';

it('reads back what it writes', () => {
  const rows = [
    ['a', 'b'],
    ['with, comma', 'with "quotes"'],
    ['two\nlines', '1.5'],
  ];
  expect(parseCsv(formatCsv(rows))).toEqual(rows);
});

it('writes no cell that a spreadsheet computes, and leaves numbers', () => {
  expect(formatCsv([['=1+1', '@x', '-cmd', '-0.5', -0.5]])).toBe("'=1+1,'@x,'-cmd,-0.5,-0.5\r\n");
});
