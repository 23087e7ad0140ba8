import type { PlacedFile } from '../parts/dropped';

/**
 * The picture that each cell of a table names. A cell is a path from the table on, or the end of one path only. Where
 * pictures were given without their folders, the cell may hold more of the path, if no other cell could mean the same.
 */
export function matchCells(cells: string[], pictures: PlacedFile[], folder: string): Map<string, PlacedFile> {
  const paths = new Map(cells.map((cell) => [cell, cell.replaceAll('\\', '/').replace(/^(\.\/)+/, '')]));
  const wanted = [...new Set(paths.values())];
  const fromTable = (picture: PlacedFile): string =>
    picture.path.startsWith(folder) ? picture.path.slice(folder.length) : picture.path;
  const choose = (path: string): PlacedFile | undefined => {
    const exact = pictures.filter((each) => each.path === folder + path);
    if (exact.length > 0) return only(exact);
    const below = pictures.filter((each) => endsWith(each.path, path));
    if (below.length > 0) return only(below);
    const flat = only(pictures.filter((each) => endsWith(path, fromTable(each))));
    return flat && wanted.filter((each) => endsWith(each, fromTable(flat))).length === 1 ? flat : undefined;
  };
  const chosen = new Map(wanted.map((path) => [path, choose(path)]));
  const exactly = new Map(wanted.map((path) => [folder + path, path]));
  const matched = new Map<string, PlacedFile>();
  for (const [cell, path] of paths) {
    const picture = chosen.get(path);
    const owner = picture && exactly.get(picture.path); // a cell that says the whole path comes before one that says its end
    if (picture && (owner === undefined || owner === path)) matched.set(cell, picture);
  }
  return matched;
}

function endsWith(path: string, end: string): boolean {
  return path === end || path.endsWith(`/${end}`);
}

function only<T>(some: T[]): T | undefined {
  return some.length === 1 ? some[0] : undefined;
}
