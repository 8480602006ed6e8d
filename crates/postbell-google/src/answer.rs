//! Answers, read as far as they may be long.

use postbell_core::BoxError;
use reqwest::Response;

/// Reads an answer's body.
///
/// # Errors
///
/// Where the connection breaks, or the body is longer than `most` bytes.
pub async fn read_up_to(mut answer: Response, most: usize) -> Result<Vec<u8>, BoxError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > most {
            return Err("its answer is too long".into());
        }
    }
    Ok(bytes)
}
