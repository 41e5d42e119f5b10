//! A table for people: columns as wide as needed, two blanks apart; on a narrow terminal long cells lose their middle.

use std::fmt;

use super::fit::elided;
use super::say::printable;
use super::terminal;
use crate::base::finding::is_unseen;

/// Columns that no cell is shortened below: the beginning of a digest, as `store ls` shows it.
const NARROWEST: usize = 12;

/// Rows of `N` columns. The last column is not padded.
pub(crate) struct Table<const N: usize> {
    right: [bool; N],
    rows: Vec<[String; N]>,
    /// Columns of the terminal, if there is one.
    columns: Option<usize>,
}

impl<const N: usize> Table<N> {
    /// A table with these headings; `>` before one aligns its column to the right.
    pub(crate) fn new(headings: [&str; N]) -> Self {
        let right = headings.map(|heading| heading.starts_with('>'));
        let rows = vec![headings.map(|heading| heading.trim_start_matches('>').to_owned())];
        Table { right, rows, columns: terminal::columns_of_stdout() }
    }

    /// Adds a row. Cells are made safe for a terminal, for many are names of files or words of servers and machines.
    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| if cell.contains(is_unseen) { printable(&cell) } else { cell }));
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let mut widths: [usize; N] = std::array::from_fn(width);
        if let Some(columns) = self.columns {
            narrow(&mut widths, columns);
        }
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, right), width) in row.iter().zip(self.right).zip(widths) {
                let cell = elided(cell, width);
                let padded = if right { format!("{cell:>width$}") } else { format!("{cell:width$}") };
                line += &padded;
                line += "  ";
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Takes from the widest column until all of them fit.
fn narrow(widths: &mut [usize], columns: usize) {
    let gaps = 2 * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > columns {
        let Some(widest) = widths.iter_mut().max().filter(|width| **width > NARROWEST) else { return };
        *widest -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_blanks_at_their_end() {
        let mut table = Table { columns: None, ..Table::new(["NAME", ">SIZE", "WHY"]) };
        table.row(["a".into(), "1 B".into(), String::new()]);
        table.row(["longer".into(), "20 KiB".into(), "ü".into()]);
        assert_eq!(table.to_string(), "NAME      SIZE  WHY\na          1 B\nlonger  20 KiB  ü\n");
    }

    #[test]
    fn a_table_fits_its_terminal_by_what_is_longest() {
        let mut table = Table { columns: Some(40), ..Table::new(["OBJECT", ">SIZE", "REFERRED TO BY"]) };
        table.row([
            "0123456789ab".into(),
            "1 KiB".into(),
            "recipes/kubernetes.lock: flatcar/amd64/version.txt".into(),
        ]);
        let text = table.to_string();
        assert_eq!(text, "OBJECT         SIZE  REFERRED TO BY\n0123456789ab  1 KiB  recipe…/version.txt\n");
    }
}
