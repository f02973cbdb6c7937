//! Tables for people: columns as wide as they need be, colour only where a terminal shows it.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

/// Good.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// Somebody should know.
pub(super) const NOTICE: Style = AnsiColor::Yellow.on_default();
/// Somebody should act.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Headings.
pub(super) const BOLD: Style = Style::new().bold();
/// Of less weight.
pub(super) const DIM: Style = Style::new().dimmed();
/// As it is.
pub(super) const PLAIN: Style = Style::new();

/// A piece of text with its colour.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(super) fn new(text: impl Into<String>, style: Style) -> Self {
        // Text that came from elsewhere must not steer the terminal.
        let text = text.into().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Cell { text, style }
    }

    pub(super) fn plain(text: impl Into<String>) -> Self {
        Cell::new(text, PLAIN)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// Rows under headings.
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new(headings: &[&str]) -> Self {
        Table { rows: vec![headings.iter().map(|heading| Cell::new(*heading, BOLD)).collect()] }
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Leaves out columns of which no row has anything.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize, rows: &[Vec<Cell>]| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count()).max().unwrap_or(0)
        };
        let shown: Vec<usize> = (0..columns).filter(|column| width(*column, &self.rows[1..]) > 0).collect();
        let headless = self.rows[0].iter().all(|heading| heading.text.is_empty());
        for row in self.rows.iter().skip(usize::from(headless)) {
            let mut line = String::new();
            for (place, column) in shown.iter().enumerate() {
                let empty = Cell::plain("");
                let Cell { text, style } = row.get(*column).unwrap_or(&empty);
                let last = place + 1 == shown.len();
                let pad = if last { 0 } else { width(*column, &self.rows) - text.chars().count() + 2 };
                line.push_str(&format!("{style}{text}{style:#}{:pad$}", ""));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Standard output that drops colours unless a terminal shows them (and `NO_COLOR` isn't set).
pub(super) fn out() -> impl Write {
    anstream::stdout().lock()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_empty_ones_are_left_out() {
        let mut table = Table::new(&["A", "EMPTY", "B"]);
        table.row(vec![Cell::plain("long text"), Cell::plain(""), Cell::new("x\u{1b}[2J", PLAIN)]);
        let mut text = Vec::new();
        table.write(&mut anstream::StripStream::new(&mut text)).expect("a Vec takes all");
        assert_eq!(String::from_utf8_lossy(&text), "A          B\nlong text  x [2J\n");
    }
}
