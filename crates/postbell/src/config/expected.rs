//! What a value should have been, in words.

/// Says what a message of serde expects, without the value, which may be a secret.
pub(super) fn in_words(problem: &str) -> String {
    let expected = problem
        .split_once("expected ")
        .map(|(_, expected)| expected);
    match expected {
        Some(expected) if problem.starts_with("invalid") => format!("expected {}", words(expected)),
        // The parser of URLs appends the value.
        _ => match problem.split_once(": \"") {
            Some((problem, _)) if words(problem) != problem => {
                format!("expected {}", words(problem))
            }
            _ => problem.to_owned(),
        },
    }
}

/// Replaces the names of Rust's types, and errors of parsers, by words with an example.
fn words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, such as 3",
        "a nonzero u16" => "a whole number from 1 to 65535",
        "a nonzero u32" => "a whole number from 1",
        "f32" | "f64" => "a number, such as 2.0",
        "a boolean" => "true or false",
        "a string" => "text in quotes",
        "a sequence" => "a list, such as [\"a\", \"b\"]",
        "a map" => "a table",
        "path string" => "the path of a file",
        "a duration" => "a time such as 500ms, 60s or 24h",
        // Of `url::ParseError`.
        "relative URL without a base"
        | "empty host"
        | "invalid port number"
        | "invalid international domain name"
        | "invalid IPv4 address"
        | "invalid IPv6 address"
        | "invalid domain character"
        | "a string representing an URL" => "a URL such as https://push.example.com",
        other if other.starts_with("struct ") => "a table",
        other => other,
    }
}
