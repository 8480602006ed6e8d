//! The static files of the pages: a style sheet, a script and an icon, named after their content.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::PageError;
use super::extract::PathParam;

/// A file that is compiled into the program.
pub(super) struct Asset {
    content: &'static str,
    kind: &'static str,
    name: String,
}

pub(super) static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "pages",
        "css",
        "text/css; charset=utf-8",
        include_str!("pages.css"),
    )
});

pub(super) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "pages",
        "js",
        "text/javascript; charset=utf-8",
        include_str!("pages.js"),
    )
});

pub(super) static BELL: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("bell", "svg", "image/svg+xml", include_str!("bell.svg")));

impl Asset {
    fn new(stem: &str, ending: &str, kind: &'static str, content: &'static str) -> Self {
        let hash = hex::encode(digest(&SHA256, content.as_bytes()));
        let name = format!("{stem}-{}.{ending}", &hash[..16]);
        Self {
            content,
            kind,
            name,
        }
    }

    /// The URL path of the file.
    pub(super) fn path(&self) -> String {
        format!("/assets/{}", self.name)
    }
}

/// Serves a file. A changed file has another name, so browsers may cache it for ever.
pub(super) async fn asset(PathParam(name): PathParam<String>) -> Response {
    let known: [&Asset; 3] = [&STYLE, &SCRIPT, &BELL];
    match known.into_iter().find(|asset| asset.name == name) {
        Some(asset) => {
            let headers = [
                (header::CONTENT_TYPE, asset.kind),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ];
            (headers, asset.content).into_response()
        }
        None => PageError::NotFound.into_response(),
    }
}
