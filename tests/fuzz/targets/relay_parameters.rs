//! A runtime's calls, in each of Telegram's four forms. The first line of an input names the method and the form. What
//! is accepted names no chat but the runtime's own, and is accepted unchanged when it is sent again.
#![no_main]

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use nbhd::domain::ids::ChatId;
use nbhd_fuzz::split_line;
use telegram_relay::rules::{METHODS, Method};
use telegram_relay::{Call, Parameters};

const OWN_CHAT: ChatId = ChatId(1001);
const FORMS: [&str; 4] = ["json", "form", "multipart", "query"];

fuzz_target!(|input: &[u8]| {
    let Some((line, content)) = split_line(input) else { return };
    let (name, form) = line.split_once(' ').unwrap_or((line, ""));
    let method = Method::find(name).unwrap_or(&METHODS[name.len() % METHODS.len()]);
    let form = FORMS.into_iter().find(|known| *known == form).unwrap_or(FORMS[form.len() % FORMS.len()]);
    let Some(given) = read(form, content) else { return };
    let Ok(call) = Call::check(method, OWN_CHAT, given) else { return };

    for (name, value) in &call.parameters {
        assert!(method.parameters().any(|(known, _)| known == name), "`{name}` is no parameter");
        assert!(name != "chat_id" || value.as_i64() == Some(OWN_CHAT.0), "another's chat");
    }
    for upload in &call.uploads {
        assert!(upload.file_name.chars().count() <= 200 && !upload.file_name.chars().any(char::is_control));
        assert!(upload.bytes.len() <= content.len());
    }
    if call.uploads.is_empty() {
        let again = Parameters { values: call.parameters.clone(), ..Parameters::default() };
        let again = Call::check(method, OWN_CHAT, again).expect("what was accepted is accepted");
        assert_eq!(again.parameters, call.parameters);
    }
});

fn read(form: &str, content: &[u8]) -> Option<Parameters> {
    let (query, body) = match form {
        "query" => (Some(std::str::from_utf8(content).ok()?), Bytes::new()),
        _ => (None, Bytes::copy_from_slice(content)),
    };
    let content_type = match form {
        "json" => "application/json",
        "form" => "application/x-www-form-urlencoded",
        _ => "multipart/form-data; boundary=b",
    };
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
    block_on(Parameters::from_request(query, &headers, body)).ok()
}
