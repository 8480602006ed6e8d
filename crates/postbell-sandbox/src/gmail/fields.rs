//! Partial answers: the parameter `fields`
//! (<https://developers.google.com/workspace/gmail/api/guides/performance#partial>).

use std::collections::BTreeMap;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::request::Parameters;
use crate::errors::api_error;

/// The largest answer that is narrowed.
const LIMIT: usize = 64 * 1024 * 1024;

/// The deepest selection.
const DEPTH: usize = 20;

/// The wanted fields by name; `None` for all fields of one. `*` stands for every name.
#[derive(Debug, Default, Eq, PartialEq)]
struct Selection(BTreeMap<String, Option<Selection>>);

/// Narrows the answers of requests that have the parameter.
pub(super) async fn select(request: Request, next: Next) -> Response {
    let parameters = Parameters::of(request.uri().query().map(str::to_owned));
    let Some(wanted) = parameters.get("fields").map(str::to_owned) else {
        return next.run(request).await;
    };
    let Some(selection) = Selection::parse(&wanted) else {
        return api_error(400, "Request contains an invalid argument: fields");
    };
    let answer = next.run(request).await;
    if !answer.status().is_success() {
        return answer;
    }
    let (parts, body) = answer.into_parts();
    let body = to_bytes(body, LIMIT).await.unwrap_or_default();
    match serde_json::from_slice::<Value>(&body) {
        Ok(json) => (parts.status, Json(selection.apply(json))).into_response(),
        Err(_) => Response::from_parts(parts, body.into()),
    }
}

impl Selection {
    /// Parses `a,b/c,d(e,f)`.
    fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let selection = Self::list(&mut rest, DEPTH)?;
        rest.is_empty().then_some(selection)
    }

    fn list(rest: &mut &str, depth: usize) -> Option<Self> {
        let mut selection = Self::default();
        loop {
            selection.item(rest, depth)?;
            match rest.strip_prefix(',') {
                Some(next) => *rest = next,
                None => return Some(selection),
            }
        }
    }

    fn item(&mut self, rest: &mut &str, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let end = rest.find(['/', ',', '(', ')']).unwrap_or(rest.len());
        let (name, next) = rest.split_at(end);
        if name.is_empty() {
            return None;
        }
        *rest = next;
        let inner = if let Some(next) = rest.strip_prefix('/') {
            *rest = next;
            let mut inner = Self::default();
            inner.item(rest, depth)?;
            Some(inner)
        } else if let Some(next) = rest.strip_prefix('(') {
            *rest = next;
            let inner = Self::list(rest, depth)?;
            *rest = rest.strip_prefix(')')?;
            Some(inner)
        } else {
            None
        };
        self.add(name, inner);
        Some(())
    }

    fn add(&mut self, name: &str, inner: Option<Self>) {
        let known = self
            .0
            .entry(name.to_owned())
            .or_insert(Some(Self::default()));
        match (known.as_mut(), inner) {
            (Some(known), Some(inner)) => {
                for (name, further) in inner.0 {
                    known.add(&name, further);
                }
            }
            (Some(_), None) => *known = None,
            (None, _) => {}
        }
    }

    fn apply(&self, json: Value) -> Value {
        match json {
            Value::Array(items) => items.into_iter().map(|item| self.apply(item)).collect(),
            Value::Object(members) => {
                let kept = members.into_iter().filter_map(|(name, value)| {
                    let inner = self.0.get(&name).or_else(|| self.0.get("*"))?;
                    let value = match inner {
                        Some(inner) => inner.apply(value),
                        None => value,
                    };
                    Some((name, value))
                });
                Value::Object(kept.collect())
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_named_fields_are_kept() {
        let json = json!({
            "id": "1",
            "payload": { "headers": [{ "name": "To", "value": "a" }], "mimeType": "text/plain" },
            "labelIds": ["INBOX"],
        });
        for (fields, expected) in [
            ("id,labelIds", json!({ "id": "1", "labelIds": ["INBOX"] })),
            (
                "payload/headers/name",
                json!({ "payload": { "headers": [{ "name": "To" }] } }),
            ),
            (
                "id,payload(mimeType,headers(value))",
                json!({ "id": "1", "payload": { "mimeType": "text/plain", "headers": [{ "value": "a" }] } }),
            ),
            (
                "*/mimeType,id",
                json!({ "id": "1", "payload": { "mimeType": "text/plain" }, "labelIds": ["INBOX"] }),
            ),
            ("nothing", json!({})),
        ] {
            let selection = Selection::parse(fields).unwrap();
            assert_eq!(selection.apply(json.clone()), expected, "{fields}");
        }
    }

    #[test]
    fn a_selection_that_is_not_one_is_refused() {
        for wrong in ["", ",", "a(", "a)", "a()", "a//b", &"a/".repeat(50)] {
            assert_eq!(Selection::parse(wrong), None, "{wrong}");
        }
    }
}
