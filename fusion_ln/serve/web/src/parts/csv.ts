/** Tables as text, in both directions. */

/** Rows of a CSV text; its separator is the one of `, ; tab` that its first line has most of. */
export function parseCsv(text: string): string[][] {
  const content = text.replace(/^\uFEFF/, '');
  const first = content.split(/\r?\n/, 1)[0] ?? '';
  const separator = [',', ';', '\t'].reduce((best, sign) => (count(first, sign) > count(first, best) ? sign : best));
  const rows: string[][] = [];
  let row: string[] = [];
  let cell = '';
  let quoted = false;
  const endRow = (): void => {
    row.push(cell.trim());
    if (row.some(Boolean)) rows.push(row);
    row = [];
    cell = '';
  };
  for (let n = 0; n < content.length; n += 1) {
    const sign = content.charAt(n);
    if (quoted) {
      if (sign !== '"') cell += sign;
      else if (content[n + 1] === '"') {
        cell += '"';
        n += 1;
      } else quoted = false;
    } else if (sign === '"' && !cell.trim()) quoted = true;
    else if (sign === separator) {
      row.push(cell.trim());
      cell = '';
    } else if (sign === '\n') endRow();
    else if (sign !== '\r') cell += sign;
  }
  endRow();
  return rows;
}

function count(text: string, sign: string): number {
  return text.split(sign).length - 1;
}

/** A CSV text; no cell is taken for a formula by a spreadsheet. */
export function formatCsv(rows: (string | number)[][]): string {
  return rows.map((row) => `${row.map(formatCell).join(',')}\r\n`).join('');
}

function formatCell(value: string | number): string {
  if (typeof value === 'number') return String(value);
  const text = /^[=+@\t\r]|^-(?![\d.]+$)/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
