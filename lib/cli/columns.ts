/**
 * Rows of cells as lines whose columns stand below each other.
 *
 * @module
 */

/**
 * Makes the lines.
 *
 * @param rows The cells, as many in each row; the heading is the first.
 * @param right The columns that stand at the right of their width, as figures do.
 */
export function columns(
  rows: readonly (readonly string[])[],
  right: readonly number[] = [],
): string[] {
  const widths = rows[0]!.map((_, column) => {
    return rows.reduce((width, row) => Math.max(width, row[column]!.length), 0);
  });
  return rows.map((row) => {
    const cells = row.map((cell, column) => {
      const width = widths[column]!;
      return right.includes(column) ? cell.padStart(width) : cell.padEnd(width);
    });
    return cells.join("  ").trimEnd();
  });
}
