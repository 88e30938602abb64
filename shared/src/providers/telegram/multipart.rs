//! `multipart/form-data` with files: <https://www.rfc-editor.org/rfc/rfc7578>.
//!
//! It is written here because reqwest's own writer brings a table of all MIME types into every function that calls
//! Telegram.

use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value};
use uuid::Uuid;

/// A file that is uploaded with a call.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The name of its parameter, or the name behind `attach://`.
    pub field: String,
    /// The name of the file that the person sees.
    pub file_name: String,
    /// The content of the file.
    pub bytes: Bytes,
}

pub(super) struct Form {
    pub(super) content_type: String,
    pub(super) body: Bytes,
}

/// Writes the parameters and after them the files. The boundary is random and drawn after all content is known, so that
/// no content can contain it.
pub(super) fn encode_form(parameters: &Map<String, Value>, uploads: &[Upload]) -> Form {
    let boundary = Uuid::new_v4().simple().to_string();
    let size: usize = uploads.iter().map(|upload| upload.bytes.len() + 256).sum();
    let mut body = BytesMut::with_capacity(size + parameters.len() * 256);
    for (name, value) in parameters {
        write_part(&mut body, &boundary, &format!("name=\"{}\"", escape_name(name)), form_text(value).as_bytes());
    }
    for upload in uploads {
        let names = format!("name=\"{}\"; filename=\"{}\"", escape_name(&upload.field), escape_name(&upload.file_name));
        write_part(&mut body, &boundary, &names, &upload.bytes);
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Form { content_type: format!("multipart/form-data; boundary={boundary}"), body: body.freeze() }
}

fn write_part(body: &mut BytesMut, boundary: &str, names: &str, content: &[u8]) {
    body.extend_from_slice(format!("--{boundary}\r\nContent-Disposition: form-data; {names}\r\n\r\n").as_bytes());
    body.extend_from_slice(content);
    body.extend_from_slice(b"\r\n");
}

/// A parameter as form text: a string as it is, any other value as JSON.
fn form_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A name with the escapes that browsers use, so that it cannot end its header.
/// <https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data>
fn escape_name(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_cannot_end_its_header() {
        let hostile = "a\"\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n1";
        let upload = Upload { field: "photo".into(), file_name: hostile.into(), bytes: Bytes::from_static(b"x") };
        let form = encode_form(&Map::new(), &[upload]);
        let body = String::from_utf8(form.body.to_vec()).expect("text");
        assert_eq!(body.matches("\r\nContent-Disposition").count(), 1);
        assert!(!body.contains("name=\"chat_id\""));
    }

    #[test]
    fn nested_parameters_are_json_and_text_is_plain() {
        let mut parameters = Map::new();
        parameters.insert("chat_id".into(), Value::from(7));
        parameters.insert("caption".into(), Value::from("a \"b\""));
        parameters.insert("media".into(), serde_json::json!([{"type": "photo"}]));
        let form = encode_form(&parameters, &[]);
        let body = String::from_utf8(form.body.to_vec()).expect("text");
        for (name, content) in [("chat_id", "7"), ("caption", "a \"b\""), ("media", r#"[{"type":"photo"}]"#)] {
            assert!(body.contains(&format!("name=\"{name}\"\r\n\r\n{content}\r\n")), "{name} in {body}");
        }
        assert!(form.content_type.starts_with("multipart/form-data; boundary="));
    }
}
