//! The members that keep a function in its own format.

use super::Json;
use crate::fields::{Fields, text};

/// Members of a function, in any format, that other formats know too.
const KNOWN: [&str; 10] =
    ["type", "name", "description", "parameters", "strict", "format", "input_schema", "cache_control", "function", "custom"];

/// Returns the reason why a function stays in its own format: its first member that no other format knows. `None` if the tool is of
/// another kind.
pub fn own_member(tool: &Json<'_>) -> Option<String> {
    let fields = Fields::parse(tool.get().as_bytes()).ok()?;
    let kind = fields.get("type").and_then(text);
    if !matches!(kind.as_deref(), None | Some("function" | "custom")) {
        return None;
    }
    let is_own = |name: &str, value: &str| !KNOWN.contains(&name) && value != "null";
    let (member, _) = fields.0.iter().find(|(name, raw)| is_own(name, raw.get()))?;
    let name = fields.get("name").and_then(text)?;
    Some(format!("only the API of the request's format knows '{member}' of the tool '{name}'; leave it out"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_name_the_member_and_other_tools_have_none() {
        let of = |tool: &str| own_member(&Json::parse(tool).unwrap());
        for tool in [
            r#"{"type":"function","name":"f","parameters":{},"defer_loading":true}"#,
            r#"{"name":"f","input_schema":{},"strict":null,"defer_loading":true}"#,
        ] {
            let reason = of(tool).unwrap();
            assert!(reason.contains("'defer_loading'") && reason.contains("'f'"), "{reason}");
        }
        for tool in [r#"{"type":"web_search","defer_loading":true}"#, r#"{"type":"function","name":"f"}"#, r#"{"googleSearch":{}}"#, "7"] {
            assert_eq!(of(tool), None, "{tool}");
        }
    }
}
