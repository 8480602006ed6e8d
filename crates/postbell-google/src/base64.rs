//! Base64 as Google writes it: it documents one alphabet and sends the other.

use std::io::Read;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::read::DecoderReader;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const PLAIN: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const FOR_URLS: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// Decodes base64 of either alphabet, padded or not.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    alphabet_of(text).decode(text).ok()
}

/// Decodes base64 of either alphabet, padded or not, while it is read.
pub(crate) fn base64_reader(text: &str) -> impl Read {
    DecoderReader::new(text.as_bytes(), alphabet_of(text))
}

fn alphabet_of(text: &str) -> &'static GeneralPurpose {
    let is_for_urls = text.bytes().any(|byte| byte == b'-' || byte == b'_');
    if is_for_urls { &FOR_URLS } else { &PLAIN }
}
