//! Reading JSON into a type that ignores what it does not know, and noticing what it ignored.

use anyhow::{Context, Result, bail};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Reads `value`; whatever does not come back when it is written again, the type does not know.
///
/// # Errors
/// When a field has another type, or none.
pub(super) fn strict<T: DeserializeOwned + Serialize>(value: &Value) -> Result<T> {
    let read: T = serde_json::from_value(value.clone()).context("not what its schema says")?;
    let mut lost = Vec::new();
    compare("", value, &serde_json::to_value(&read)?, &mut lost);
    if !lost.is_empty() {
        bail!("its schema does not know {}", lost.join(", "));
    }
    Ok(read)
}

fn compare(path: &str, wanted: &Value, read: &Value, lost: &mut Vec<String>) {
    match (wanted, read) {
        (Value::Object(wanted), Value::Object(read)) => {
            for (key, value) in wanted {
                let path = format!("{path}.{key}");
                match read.get(key) {
                    Some(read) => compare(&path, value, read, lost),
                    None => lost.push(path),
                }
            }
        }
        (Value::Array(wanted), Value::Array(read)) if wanted.len() == read.len() => {
            for (index, (wanted, read)) in wanted.iter().zip(read).enumerate() {
                compare(&format!("{path}[{index}]"), wanted, read, lost);
            }
        }
        _ if wanted == read => {}
        _ => lost.push(format!("{path} ({wanted}, read as {read})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{Container, SecurityContext};
    use serde_json::json;

    #[test]
    fn what_the_type_knows_is_read() {
        let context: SecurityContext =
            strict(&json!({"privileged": false, "capabilities": {"drop": ["ALL"]}})).unwrap();
        assert_eq!(context.privileged, Some(false));
    }

    #[test]
    fn misspelt_fields_are_named_with_their_place() {
        let container = json!({"name": "a", "volumeMounts": [{"name": "b", "mountPath": "/b", "readonly": true}]});
        let error = strict::<Container>(&container).unwrap_err().to_string();
        assert!(error.contains(".volumeMounts[0].readonly"), "{error}");
        assert!(strict::<Container>(&json!({"name": 1})).is_err());
    }
}
