//! UTF-7 (RFC 2152), which old mail has and `encoding_rs` does not.

/// Decodes ASCII bytes. A sequence that is not valid base64 ends at its first other character.
pub(super) fn decode(bytes: &[u8]) -> String {
    let mut rest = std::str::from_utf8(bytes).unwrap_or_default();
    let mut text = String::with_capacity(rest.len());
    while let Some((plain, after)) = rest.split_once('+') {
        text.push_str(plain);
        let is_base64 = |one: char| one.is_ascii_alphanumeric() || matches!(one, '+' | '/');
        let end = after.find(|one| !is_base64(one)).unwrap_or(after.len());
        if end == 0 {
            text.push('+');
        }
        text.push_str(&utf16(&after[..end]));
        let after = &after[end..];
        rest = after.strip_prefix('-').unwrap_or(after);
    }
    text.push_str(rest);
    text
}

fn utf16(base64: &str) -> String {
    let (mut bits, mut count, mut units) = (0_u32, 0_u32, Vec::new());
    for byte in base64.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 16 {
            count -= 16;
            units.extend(u16::try_from(bits >> count));
            bits &= (1 << count) - 1;
        }
    }
    String::from_utf16_lossy(&units)
}
