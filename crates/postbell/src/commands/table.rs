//! Tables for people.

use jiff::Timestamp as Moment;
use postbell_core::Timestamp;
use unicode_width::UnicodeWidthStr;

/// The widest column, in columns of a terminal. A longer cell is whole, and moves what follows in its line.
const WIDEST: usize = 200;

/// Formats rows in columns, each as wide as its widest cell.
pub(super) fn lay_out(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.width()).max();
        widest.unwrap_or(0).min(WIDEST)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let padded: String = cells
            .map(|(cell, &width)| format!("{}  ", pad(cell, width)))
            .collect();
        padded.trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Appends spaces up to a width in columns of a terminal, in which some characters take two.
fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// Formats a time as RFC 3339 in UTC, in seconds.
pub(super) fn time(at: Timestamp) -> String {
    Moment::from_second(at.as_secs()).map_or_else(|_| at.to_string(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "bb", "c"], ["ü100", "b", ""]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(lay_out(&rows), "a     bb  c\nü100  b");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let rows = [["日本🥨", "a"], ["abcdefg", "b"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(lay_out(&rows), "日本🥨   a\nabcdefg  b");
    }

    #[test]
    fn a_cell_of_any_length_is_laid_out() {
        let rows = [vec!["ü".repeat(100_000), "b".to_owned()]];
        assert_eq!(lay_out(&rows), format!("{}  b", "ü".repeat(100_000)));
    }

    #[test]
    fn times_are_rfc_3339() {
        let at = Timestamp::from_millis(1_700_000_000_123);
        assert_eq!(time(at), "2023-11-14T22:13:20Z");
    }
}
