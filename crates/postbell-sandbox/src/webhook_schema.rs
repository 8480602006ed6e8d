//! Checks webhook calls against the published schema.

use serde_json::Value;

/// What in a webhook call's body `docs/webhook.schema.json` does not allow, or does not mention. Always `None`
/// without the feature `schema`.
#[must_use]
#[cfg_attr(not(feature = "schema"), expect(unused_variables, reason = "no check"))]
pub fn schema_violation(body: &Value) -> Option<String> {
    #[cfg(feature = "schema")]
    return check::violation(body);
    #[cfg(not(feature = "schema"))]
    None
}

#[cfg(feature = "schema")]
mod check {
    use std::sync::LazyLock;

    use jsonschema::Validator;
    use serde_json::Value;

    const SCHEMA: &str = include_str!("../../../docs/webhook.schema.json");

    static VALIDATOR: LazyLock<Option<Validator>> = LazyLock::new(|| {
        let mut schema = serde_json::from_str(SCHEMA).ok()?;
        close(&mut schema);
        jsonschema::validator_for(&schema).ok()
    });

    pub(super) fn violation(body: &Value) -> Option<String> {
        let Some(validator) = &*VALIDATOR else {
            return Some("docs/webhook.schema.json is not a JSON Schema".to_owned());
        };
        let error = validator.iter_errors(body).next()?;
        Some(format!("{error} (at {})", error.instance_path()))
    }

    /// Makes a field an error that the schema does not mention: the published schema allows later additions.
    fn close(schema: &mut Value) {
        match schema {
            Value::Object(object) => {
                if object.contains_key("properties") {
                    object.insert("additionalProperties".to_owned(), false.into());
                }
                object.values_mut().for_each(close);
            }
            Value::Array(values) => values.iter_mut().for_each(close),
            _ => {}
        }
    }

    #[cfg(test)]
    mod tests {
        use serde_json::json;

        use super::*;

        #[test]
        fn a_call_with_an_unknown_a_missing_or_a_malformed_field_violates_the_schema() {
            let call = |message: Value| json!({ "source": "gmail", "account": "a@b", "historyId": "7", "messages": [message] });
            let message = json!({
                "id": "1", "threadId": "1", "from": "", "to": "", "subject": "", "date": "", "snippet": "",
                "labels": ["INBOX"],
            });
            assert_eq!(violation(&call(message.clone())), None);
            for (field, value) in [
                ("unknown", json!("x")),
                ("id", json!(7)),
                ("labels", json!("INBOX")),
                ("attachments", json!([{ "name": "a" }])),
                ("authentication", json!({ "dmarc": "maybe" })),
            ] {
                let mut message = message.clone();
                message[field] = value;
                assert!(violation(&call(message)).is_some(), "{field}");
            }
            assert!(violation(&call(json!({ "id": "1" }))).is_some());
            let text_as_number =
                json!({ "source": "gmail", "account": "a@b", "historyId": 7, "messages": [] });
            assert!(violation(&text_as_number).is_some());
        }
    }
}
