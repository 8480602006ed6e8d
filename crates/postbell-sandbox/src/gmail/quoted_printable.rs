//! Quoted-printable (RFC 2045, section 6.7) as senders really write it: a `=` that encodes nothing stands for itself.

/// Whether a `=` encodes neither a byte nor a soft line break.
pub(super) fn is_malformed(encoded: &[u8]) -> bool {
    let mut signs = positions(encoded);
    signs.any(|at| matches!(escape(&encoded[at + 1..]), Escape::None))
}

/// Decodes a text, malformed or not.
pub(super) fn decode(encoded: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'=' {
            decoded.push(*first);
            continue;
        }
        match escape(behind) {
            Escape::Byte(byte) => {
                decoded.push(byte);
                rest = &behind[2..];
            }
            Escape::LineBreak { length } => rest = &behind[length..],
            Escape::None => decoded.push(b'='),
        }
    }
    decoded
}

/// What follows a `=`.
enum Escape {
    Byte(u8),
    LineBreak { length: usize },
    None,
}

fn escape(behind: &[u8]) -> Escape {
    let digit = |at: usize| {
        let byte = behind.get(at)?;
        char::from(*byte).to_digit(16)
    };
    if let (Some(high), Some(low)) = (digit(0), digit(1)) {
        return u8::try_from(high * 16 + low).map_or(Escape::None, Escape::Byte);
    }
    // Spaces that were added on the way do not count.
    let spaces = behind
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    match &behind[spaces..] {
        [b'\r', b'\n', ..] => Escape::LineBreak { length: spaces + 2 },
        [b'\n', ..] => Escape::LineBreak { length: spaces + 1 },
        [] => Escape::LineBreak { length: spaces },
        _ => Escape::None,
    }
}

fn positions(encoded: &[u8]) -> impl Iterator<Item = usize> {
    let bytes = encoded.iter().enumerate();
    bytes.filter(|(_, byte)| **byte == b'=').map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_encodes_nothing_stands_for_itself() {
        for (encoded, expected) in [
            (&b"a=3Db=\r\nc= \nd="[..], &b"a=bcd"[..]),
            (b"http://x.org/?psc=1&q=zz", b"http://x.org/?psc=1&q=zz"),
            (b"=C3=BC", b"\xc3\xbc"),
        ] {
            assert_eq!(decode(encoded), expected);
        }
        assert!(is_malformed(b"?psc=1&") && !is_malformed(b"a=3Db=\r\n="));
    }
}
