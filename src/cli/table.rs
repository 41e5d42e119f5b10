//! A table for people: columns as wide as needed, two blanks apart.

use std::fmt;

/// Rows of `N` columns. The last column is not padded.
pub(crate) struct Table<const N: usize> {
    right: [bool; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with these headings; `>` before one aligns its column to the right.
    pub(crate) fn new(headings: [&str; N]) -> Self {
        let right = headings.map(|heading| heading.starts_with('>'));
        Table { right, rows: vec![headings.map(|heading| heading.trim_start_matches('>').to_owned())] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; N] = std::array::from_fn(width);
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, right), width) in row.iter().zip(self.right).zip(widths) {
                let padded = if right { format!("{cell:>width$}") } else { format!("{cell:width$}") };
                line += &padded;
                line += "  ";
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_blanks_at_their_end() {
        let mut table = Table::new(["NAME", ">SIZE", "WHY"]);
        table.row(["a".into(), "1 B".into(), String::new()]);
        table.row(["longer".into(), "20 KiB".into(), "ü".into()]);
        assert_eq!(table.to_string(), "NAME      SIZE  WHY\na          1 B\nlonger  20 KiB  ü\n");
    }
}
