//! Tables for people.

use std::borrow::Cow;

use jiff::Timestamp as Moment;
use postbell_core::Timestamp;
use textwrap::{Options, WordSeparator, WordSplitter, wrap};
use unicode_width::UnicodeWidthStr;

/// The widest column, in columns of a terminal. A longer cell is whole, and moves what follows in its line.
const WIDEST: usize = 200;

/// The narrowest column to which cells are wrapped.
const NARROWEST: usize = 8;

/// The narrowest last column: what does not fit into it is written below its row.
const NARROWEST_LAST: usize = 24;

/// Indent of what is written below a row.
const INDENT: usize = 4;

const GAP: usize = 2;

/// Formats rows in columns, each as wide as its widest cell. The first row may be the names of the columns.
///
/// For a terminal of `columns`, cells are wrapped so that lines are no longer, and a last column that would become
/// too narrow is written below its row.
pub(super) fn lay_out(rows: &[Vec<String>], columns: Option<usize>) -> String {
    let mut widths = natural_widths(rows);
    let mut is_last_below = false;
    if let Some(columns) = columns {
        let others = used_by(&widths) - widths.last().unwrap_or(&0);
        let room = columns.saturating_sub(others);
        is_last_below = widths.len() > 2
            && widths
                .last()
                .is_some_and(|&last| last > room && room < NARROWEST_LAST);
        if is_last_below {
            widths.pop();
        }
        narrow(&mut widths, columns);
    }
    let mut lines = Vec::new();
    for row in rows {
        lines.extend(row_lines(row, &widths, columns.is_some()));
        let last = row.get(widths.len()).filter(|_| is_last_below);
        if let (Some(last), Some(columns)) = (last, columns)
            && !matches!(last.as_str(), "" | "-")
        {
            let below = folded(last, columns.saturating_sub(INDENT).max(NARROWEST));
            lines.extend(below.map(|line| format!("{}{line}", " ".repeat(INDENT))));
        }
    }
    lines.join("\n")
}

fn natural_widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.width()).max();
        widest.unwrap_or(0).min(WIDEST)
    };
    (0..columns).map(width).collect()
}

/// The length of a line, without the gap at its end.
fn used_by(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

/// Makes the widest columns narrower until a line fits.
fn narrow(widths: &mut [usize], columns: usize) {
    while used_by(widths) > columns {
        let widest = widths.iter_mut().max();
        let Some(widest) = widest.filter(|widest| **widest > NARROWEST) else {
            return;
        };
        *widest -= 1;
    }
}

/// The lines of a row.
fn row_lines(row: &[String], widths: &[usize], is_wrapped: bool) -> Vec<String> {
    let cells = row.iter().zip(widths);
    let cells: Vec<Vec<String>> = cells
        .map(|(cell, &width)| {
            if is_wrapped && cell.width() > width {
                folded(cell, width).collect()
            } else {
                vec![cell.clone()]
            }
        })
        .collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    let line = |index: usize| {
        let parts = cells.iter().zip(widths);
        let padded: String = parts
            .map(|(cell, &width)| pad(cell.get(index).map_or("", String::as_str), width))
            .collect();
        padded.trim_end().to_owned()
    };
    (0..height).map(line).collect()
}

/// Wraps a cell. A word that is too long, such as an address, is broken.
fn folded(cell: &str, width: usize) -> impl Iterator<Item = String> {
    let options = Options::new(width)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation);
    let lines = wrap(cell, options).into_iter();
    lines.map(Cow::into_owned)
}

/// Appends spaces up to a width in columns of a terminal, in which some characters take two, and the gap.
fn pad(text: &str, width: usize) -> String {
    let spaces = width.saturating_sub(text.width()) + GAP;
    format!("{text}{}", " ".repeat(spaces))
}

/// Formats a time as RFC 3339 in UTC, in seconds.
pub(super) fn time(at: Timestamp) -> String {
    Moment::from_second(at.as_secs()).map_or_else(|_| at.to_string(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows<const N: usize, const M: usize>(rows: [[&str; N]; M]) -> Vec<Vec<String>> {
        rows.map(|row| row.map(str::to_owned).to_vec()).to_vec()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = rows([["a", "bb", "c"], ["ü100", "b", ""]]);
        assert_eq!(lay_out(&rows, None), "a     bb  c\nü100  b");
        assert_eq!(lay_out(&rows, Some(80)), "a     bb  c\nü100  b");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let rows = rows([["日本🥨", "a"], ["abcdefg", "b"]]);
        assert_eq!(lay_out(&rows, None), "日本🥨   a\nabcdefg  b");
    }

    #[test]
    fn a_cell_of_any_length_is_laid_out() {
        let rows = [vec!["ü".repeat(100_000), "b".to_owned()]];
        assert_eq!(lay_out(&rows, None), format!("{}  b", "ü".repeat(100_000)));
        let folded = lay_out(&rows, Some(80));
        assert!(folded.lines().all(|line| line.width() <= 80));
    }

    #[test]
    fn a_terminal_gets_no_line_that_is_longer_than_itself() {
        let users = rows([
            ["user", "status", "machine", "google", "mail", "problem"],
            [
                "ann",
                "running",
                "https://the-bot-of-ann.example.com/",
                "ann.of.the.other.house@example.com",
                "on",
                "-",
            ],
            ["日本語", "stopped", "-", "-", "off", "grant_revoked"],
        ]);
        insta::assert_snapshot!(lay_out(&users, Some(60)), @r"
        user    status   machine             google             mail
            problem
        ann     running  https://the-bot-of  ann.of.the.other.  on
                         -ann.example.com/   house@example.com
        日本語  stopped  -                   -                  off
            grant_revoked
        ");
        let values = rows([
            ["topic", "projects/p/topics/t"],
            [
                "problem",
                "the hook answered 401 and nothing else comes through",
            ],
        ]);
        insta::assert_snapshot!(lay_out(&values, Some(40)), @r"
        topic    projects/p/topics/t
        problem  the hook answered 401 and
                 nothing else comes through
        ");
    }

    #[test]
    fn a_last_column_that_is_too_narrow_is_below_its_row() {
        let deliveries = rows([
            ["ended", "outcome", "attempt", "cause"],
            ["2026-11-30T03:05:09Z", "delivered", "1", ""],
            [
                "2026-11-30T03:05:09Z",
                "retrying",
                "12",
                "the controller answered 404 and says nothing more",
            ],
        ]);
        insta::assert_snapshot!(lay_out(&deliveries, Some(50)), @r"
        ended                 outcome    attempt
            cause
        2026-11-30T03:05:09Z  delivered  1
        2026-11-30T03:05:09Z  retrying   12
            the controller answered 404 and says nothing
            more
        ");
    }

    #[test]
    fn times_are_rfc_3339() {
        let at = Timestamp::from_millis(1_700_000_000_123);
        assert_eq!(time(at), "2023-11-14T22:13:20Z");
    }
}
