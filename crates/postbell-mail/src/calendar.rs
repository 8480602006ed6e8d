//! An invitation or an entry of a calendar (RFC 5545) as text: what, when, where, who.

use std::fmt::Write;

/// The components that a person reads.
const ENTRIES: [&str; 3] = ["VEVENT", "VTODO", "VJOURNAL"];

/// Writes the entries of a calendar.
pub(crate) fn text_of(calendar: &str) -> String {
    // Section 3.1: a line that begins with white space continues the one before.
    let unfolded = calendar.replace("\n ", "").replace("\n\t", "");
    let mut text = String::new();
    // The open components, the innermost last.
    let mut open: Vec<String> = Vec::new();
    for line in unfolded.lines().filter_map(Line::parse) {
        match line.name.as_str() {
            "METHOD" => text.push_str(method(&line.value)),
            "BEGIN" => {
                open.push(line.value.trim().to_ascii_uppercase());
                if is_entry(&open) && !text.is_empty() && !text.ends_with("\n\n") {
                    text.push('\n');
                }
            }
            "END" => {
                open.pop();
            }
            // An alarm within an entry is for a program.
            _ if is_entry(&open) => line.write(&mut text),
            _ => {}
        }
    }
    text.trim().to_owned()
}

fn is_entry(open: &[String]) -> bool {
    open.last()
        .is_some_and(|last| ENTRIES.contains(&last.as_str()))
}

fn method(value: &str) -> &'static str {
    match value.trim().to_ascii_uppercase().as_str() {
        "REQUEST" => "Invitation\n",
        "CANCEL" => "Cancelled\n",
        "REPLY" => "Answer to an invitation\n",
        "COUNTER" => "Proposal of a new time\n",
        _ => "",
    }
}

/// A content line: `NAME;PARAMETER=…:value`.
struct Line {
    name: String,
    time_zone: Option<String>,
    common_name: Option<String>,
    value: String,
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let (head, value) = split_outside_quotes(line)?;
        let mut pieces = head.split(';');
        let name = pieces.next()?.trim().to_ascii_uppercase();
        let (mut time_zone, mut common_name) = (None, None);
        for piece in pieces {
            match piece.split_once('=') {
                Some(("TZID", zone)) => time_zone = Some(zone.trim_matches('"').to_owned()),
                Some(("CN", name)) => common_name = Some(name.trim_matches('"').to_owned()),
                _ => {}
            }
        }
        Some(Self {
            name,
            time_zone,
            common_name,
            value: unescaped(value),
        })
    }

    fn write(&self, text: &mut String) {
        let value = self.value.trim();
        if value.is_empty() {
            return;
        }
        let label = match self.name.as_str() {
            "SUMMARY" => "What",
            "DTSTART" => "Start",
            "DTEND" => "End",
            "DUE" => "Due",
            "DURATION" => "Duration",
            "RRULE" => "Repeats",
            "LOCATION" => "Where",
            "ORGANIZER" => "Organizer",
            "STATUS" => "Status",
            "URL" => "Link",
            "DESCRIPTION" => {
                let _ = writeln!(text, "\n{value}");
                return;
            }
            _ => return,
        };
        let value = match self.name.as_str() {
            "DTSTART" | "DTEND" | "DUE" => self.time(value),
            "ORGANIZER" => self.organizer(value),
            _ => value.to_owned(),
        };
        let _ = writeln!(text, "{label}: {value}");
    }

    /// A time as people write it: `2026-12-01 09:00 UTC`.
    fn time(&self, value: &str) -> String {
        let (date, time) = value.split_once('T').unwrap_or((value, ""));
        let (time, zone) = match time.strip_suffix('Z') {
            Some(time) => (time, Some("UTC")),
            None => (time, self.time_zone.as_deref()),
        };
        let is_known =
            date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()) && time.is_ascii();
        if !is_known {
            return value.to_owned();
        }
        let mut text = format!("{}-{}-{}", &date[..4], &date[4..6], &date[6..]);
        if time.len() >= 4 {
            let _ = write!(text, " {}:{}", &time[..2], &time[2..4]);
        }
        if let Some(zone) = zone.filter(|_| !time.is_empty()) {
            let _ = write!(text, " {zone}");
        }
        text
    }

    fn organizer(&self, value: &str) -> String {
        let is_mail = value
            .get(..7)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("mailto:"));
        let address = if is_mail { &value[7..] } else { value };
        match &self.common_name {
            Some(name) if name != address => format!("{name} <{address}>"),
            _ => address.to_owned(),
        }
    }
}

/// Splits at the first colon outside quotes.
fn split_outside_quotes(line: &str) -> Option<(&str, &str)> {
    let mut is_quoted = false;
    let colon = line.find(|one| {
        is_quoted ^= one == '"';
        one == ':' && !is_quoted
    })?;
    Some((&line[..colon], &line[colon + 1..]))
}

/// Section 3.3.11.
fn unescaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(one) = characters.next() {
        match one {
            '\\' => match characters.next() {
                Some('n' | 'N') => text.push('\n'),
                other => text.extend(other),
            },
            _ => text.push(one),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_says_what_when_where_and_who() {
        let calendar = "BEGIN:VCALENDAR\nMETHOD:REQUEST\nBEGIN:VTIMEZONE\nTZID:Europe/Berlin\nEND:VTIMEZONE\n\
            BEGIN:VEVENT\nSUMMARY:Review\\, part 2\nDTSTART;TZID=Europe/Berlin:20261201T100000\n\
            DTEND:20261201T100000Z\nLOCATION:Room 1\nORGANIZER;CN=\"Ann: B\":MAILTO:ann@example.org\n\
            DESCRIPTION:Bring\\nyour no\n tes.\nBEGIN:VALARM\nDESCRIPTION:Alarm\nEND:VALARM\nUID:1\nEND:VEVENT\n\
            BEGIN:VEVENT\nSUMMARY:Second\nDTSTART;VALUE=DATE:20261202\nEND:VEVENT\nEND:VCALENDAR\n";
        let expected = "Invitation\n\nWhat: Review, part 2\nStart: 2026-12-01 10:00 Europe/Berlin\n\
            End: 2026-12-01 10:00 UTC\nWhere: Room 1\nOrganizer: Ann: B <ann@example.org>\n\nBring\nyour notes.\n\n\
            What: Second\nStart: 2026-12-02";
        assert_eq!(text_of(calendar), expected);
    }

    #[test]
    fn a_broken_calendar_gives_what_can_be_read() {
        assert_eq!(
            text_of("BEGIN:VEVENT\nSUMMARY:x\nDTSTART:tomorrow\nEND:VEVENT"),
            "What: x\nStart: tomorrow"
        );
        assert_eq!(text_of("no calendar"), "");
    }
}
